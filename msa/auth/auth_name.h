/*
 * auth_name - whom a client's first message of an AUTH exchange is about, so that its realm's back
 * end can be asked. Pure.
 */
#ifndef MSA_AUTH_AUTH_NAME_H
#define MSA_AUTH_AUTH_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* Does the client speak first in this mechanism, with its name in what it says? */
bool auth_name_first(const char *mech);
/*
 * The challenge, base64, by which the server asks for that message when it did not come with AUTH.
 * Only for mechanisms of auth_name_first().
 */
const char *auth_name_prompt(const char *mech);
/*
 * The name in the message, len octets of base64: as the client wrote it, with SCRAM's =2C and =3D
 * undone. False: there is none to be seen, or it does not fit into cap octets with its NUL; out is
 * then "". The decoded message, with its password, is wiped.
 */
bool auth_name(const char *mech, const char *text, size_t len, char *out, size_t cap);

#endif
