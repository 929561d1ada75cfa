/*
 * store_report - abuse reports and the messages they are about (contract in store.h).
 */
#include <stdio.h>

#include "accounting/store_int.h"

static bool read_message(struct store *s, int stmt, bool row, struct store_message *out)
{
	if (!row)
		return false;
	out->account = sql_int(DB, stmt, 0);
	snprintf(out->login, sizeof out->login, "%s", sql_text(DB, stmt, 1));
	snprintf(out->queue_id, sizeof out->queue_id, "%s", sql_text(DB, stmt, 2));
	snprintf(out->token, sizeof out->token, "%s", sql_text(DB, stmt, 3));
	sql_end(DB, stmt);
	return true;
}

bool store_message_by_token(struct store *s, const char *token, struct store_message *out)
{
	return read_message(s, ST_MESSAGE_TOKEN, sql_first(DB, ST_MESSAGE_TOKEN, QS(token)), out);
}

bool store_message_by_queue_id(struct store *s, const char *queue_id, struct store_message *out)
{
	return read_message(s, ST_MESSAGE_QUEUE, sql_first(DB, ST_MESSAGE_QUEUE, QS(queue_id)),
			    out);
}

static bool read_sender(struct store *s, int stmt, bool row, struct store_message *out,
			bool *several)
{
	if (!row)
		return false;
	bool one = sql_int(DB, stmt, 4) == 1;
	out->account = sql_int(DB, stmt, 0);
	snprintf(out->login, sizeof out->login, "%s", sql_text(DB, stmt, 1));
	snprintf(out->queue_id, sizeof out->queue_id, "%s", one ? sql_text(DB, stmt, 2) : "");
	snprintf(out->token, sizeof out->token, "%s", one ? sql_text(DB, stmt, 3) : "");
	*several = sql_next(DB, stmt);
	sql_end(DB, stmt);
	return !*several;
}

bool store_message_by_sender(struct store *s, const char *mail_from, int64_t from_ms, int64_t to_ms,
			     struct store_message *out, bool *several)
{
	*several = false;
	return read_sender(s, ST_SENDER_LOGIN,
			   sql_first(DB, ST_SENDER_LOGIN, QS(mail_from), QI(from_ms), QI(to_ms)),
			   out, several) ||
	       read_sender(s, ST_SENDER_DAY,
			   sql_first(DB, ST_SENDER_DAY, QS(mail_from), QI(from_ms), QI(to_ms)), out,
			   several);
}

int64_t store_account_at(struct store *s, const struct addr *src, int64_t subscriber,
			 int64_t from_ms, int64_t to_ms, char *login, size_t n)
{
	int64_t id = 0;
	bool row = sql_first(DB, ST_ACCOUNT_AT, QA(src), QI(from_ms), QI(to_ms), QI(subscriber));
	if (row) {
		id = sql_int(DB, ST_ACCOUNT_AT, 0);
		snprintf(login, n, "%s", sql_text(DB, ST_ACCOUNT_AT, 1));
	}
	if (row && sql_next(DB, ST_ACCOUNT_AT)) { /* two: nobody can say which */
		sql_end(DB, ST_ACCOUNT_AT);
		id = 0;
		login[0] = '\0';
	}
	sql_end(DB, ST_ACCOUNT_AT);
	return id;
}

int64_t store_report_add(struct store *s, const struct store_report *r)
{
	sql_run(DB, ST_REPORT_ADD, QI(r->received_ms), QS(r->format), QS(r->feedback_type),
		QS(r->reporter), QS(r->source_ip), QZ(r->source_port), QZ(r->arrival_ms),
		QS(r->match), QZ(r->account), QZ(r->subscriber), QZ(r->incident), QS(r->token),
		QS(r->queue_id), QS(r->sha256), QS(r->error), QS(r->fields),
		QS(r->original_headers));
	return sql_error(DB) ? 0 : sql_rowid(DB);
}

json_t *store_report_row(struct store *s, const char *sha256, int64_t id)
{
	return sql_object(DB, ST_REPORT_ROW, QS(sha256), QI(id));
}

void store_report_attach(struct store *s, int64_t id, int64_t incident)
{
	sql_run(DB, ST_REPORT_ATTACH, QI(id), QI(incident));
}

bool store_report_again(struct store *s, int64_t account, const char *queue_id)
{
	return account && queue_id[0] &&
	       sql_value(DB, ST_REPORT_AGAIN, QI(account), QS(queue_id)) > 0;
}

int64_t store_report_count(struct store *s, int64_t incident)
{
	return sql_value(DB, ST_REPORT_COUNT, QI(incident));
}
