/* SPDX-License-Identifier: ISC */
/* RSET, NOOP, VRFY, HELP, QUIT, and the verbs that have no meaning here. */
#include "proxy/relay.h"
#include "proxy/session.h"

enum flow verb_rset(struct session *session, const struct command *command)
{
	(void)command;
	relay_reset(session);
	session_reply(session, REPLY_OK);
	return FLOW_GO;
}

enum flow verb_noop(struct session *session, const struct command *command)
{
	(void)command;
	session_reply(session, REPLY_OK);
	return FLOW_GO;
}

/* RFC 5321 3.5.3: 252 tells nothing about who exists. */
enum flow verb_vrfy(struct session *session, const struct command *command)
{
	return session_refuse(session, command->args_len == 0 ? REPLY_ARGUMENTS : REPLY_VRFY);
}

enum flow verb_help(struct session *session, const struct command *command)
{
	(void)command;
	session_reply(session, REPLY_HELP);
	return FLOW_GO;
}

enum flow verb_quit(struct session *session, const struct command *command)
{
	(void)command;
	session_close_with(session, REPLY_BYE, "quit");
	return FLOW_CLOSED;
}

enum flow verb_unimplemented(struct session *session, const struct command *command)
{
	(void)command;
	return session_refuse(session, REPLY_UNIMPLEMENTED);
}

/* A browser was made to talk to us: nothing of what follows is read. */
enum flow verb_foreign(struct session *session, const struct command *command)
{
	(void)command;
	session_close_with(session, REPLY_FOREIGN_PROTOCOL, "foreign protocol");
	return FLOW_CLOSED;
}

enum flow verb_unknown(struct session *session, const struct command *command)
{
	(void)command;
	return session_refuse(session, REPLY_UNKNOWN);
}
