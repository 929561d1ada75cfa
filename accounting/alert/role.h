/*
 * role - the process that sends alerts: sekisho-acctd -x alert, `sekisho-alert` in ps(1).
 *
 * It has no database, and acctd no secret: key and password files are read here, at each attempt,
 * and wiped. Frames of lib/ipc over descriptor 3, JSON:
 *
 *   > ALERT_F_JOB     {"id":n,"how":"webhook","url":…,"plain_http":b,"type":…,"headers":[…],
 *                      "secret_file":…,"uuid":…,"body":…,"ca_file":…,"timeout_ms":n}
 *                     {"id":n,"how":"mail","host":…,"port":n,"tls":n,"user":…,"password_file":…,
 *                      "from":…,"to":…,"helo":…,"body":…,"ca_file":…,"timeout_ms":n}
 *   < ALERT_F_ANSWER  {"id":n,"ok":b,"answer":…}
 *
 * Every job is answered once. It ends when the parent's end closes.
 */
#ifndef ACCOUNTING_ALERT_ROLE_H
#define ACCOUNTING_ALERT_ROLE_H

#define ALERT_F_JOB	 1
#define ALERT_F_ANSWER	 2
#define ALERT_ANSWER_MAX 300 /* bytes of a receiver's words that are kept */

/* The role's main(). */
int alert_role_main(void);

#endif
