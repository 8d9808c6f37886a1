/* SPDX-License-Identifier: ISC */
/* A login from the command line, prepared as the service prepares the one of a client. */
#ifndef CTL_LOGIN_H
#define CTL_LOGIN_H

#include "ctl/ctl.h"

enum { LOGIN_TEXT_MAX = PASSWORD_LOGIN_MAX + 1 };

/* EX_OK; or EX_DATAERR after saying what is wrong.  An empty text stays empty. */
int login_text(const struct ctl *ctl, const char *text, char out[LOGIN_TEXT_MAX])
	__attribute__((warn_unused_result));

/*
 * The command's first argument, which may not be empty; an account that is kept in tables of
 * somebody else's is fetched from there.  EX_OK, or the exit status after saying what is wrong.
 */
int login_argument(struct ctl *ctl, char out[LOGIN_TEXT_MAX]) __attribute__((warn_unused_result));

#endif
