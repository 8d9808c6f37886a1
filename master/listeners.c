/* SPDX-License-Identifier: ISC */
/* Listening sockets; see listeners.h. */
#include "master/listeners.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel cuts it to net.core.somaxconn. */
enum { BACKLOG = 4096 };

/* Makes one socket; -1 with errno. */
static int listen_on(const struct address *address)
{
	const int on = 1;
	int fd = socket(
		address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

	if (fd == -1)
		return -1;
	/* A restart must not wait for connections in TIME_WAIT.  IPv4 has its own socket. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
		(address->sa.sa_family == AF_INET6 &&
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == -1) ||
		bind(fd, &address->sa, address->len) == -1 || listen(fd, BACKLOG) == -1) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static const char *advice(int error)
{
	switch (error) {
	case EADDRINUSE:
		return "another program (perhaps a second postern) already listens there: stop "
		       "it, or change the address";
	case EACCES:
	case EPERM:
		return "ports below 1024 need root, CAP_NET_BIND_SERVICE or a higher port";
	case EADDRNOTAVAIL:
		return "this machine does not have that address: add it, or change the address";
	case EAFNOSUPPORT:
		return "this machine has no IPv6: leave that address out";
	case EMFILE:
	case ENFILE:
		return "raise the limit of open files";
	default:
		return "check the address";
	}
}

static int open_one(const struct address *address, const char *where, FILE *err)
{
	char text[ADDRESS_TEXT_MAX];
	int fd = listen_on(address);

	if (fd == -1) {
		int saved = errno;
		fprintf(err, "%s: cannot listen on %s: %s; %s\n", where,
			address_format(address, text), strerror(saved), advice(saved));
	}
	return fd;
}

static bool open_section(
	const struct config *config, size_t index, struct listeners *out, FILE *err)
{
	const struct config_listen *listen_section = &config->listeners[index];
	char where[600];

	snprintf(where, sizeof where, "%s:%u: listen \"%s\"", config->path, listen_section->line,
		listen_section->name);
	for (size_t i = 0; i < listen_section->address_count; i++) {
		int fd = open_one(&listen_section->addresses[i], where, err);
		if (fd == -1)
			return false;
		out->smtp[out->smtp_count++] =
			(struct child_listener){.fd = fd, .listen = index, .address = i};
	}
	return true;
}

bool listeners_open(const struct config *config, struct listeners *out, FILE *err)
{
	bool good = true;

	*out = (struct listeners){.admin = {.fd = -1}};
	for (size_t i = 0; i < config->listener_count; i++)
		good &= open_section(config, i, out, err); /* all errors at once */
	if (config->admin.len != 0) {
		char where[600];
		snprintf(where, sizeof where, "%s: admin", config->path);
		out->admin.fd = open_one(&config->admin, where, err);
		good &= out->admin.fd != -1;
	}
	if (!good)
		listeners_close(out);
	return good;
}

void listeners_close_smtp(struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->smtp_count; i++) {
		/* Proxies have the same socket: closing ours alone would leave it open. */
		(void)shutdown(listeners->smtp[i].fd, SHUT_RDWR);
		close(listeners->smtp[i].fd);
	}
	listeners->smtp_count = 0;
}

void listeners_close(struct listeners *listeners)
{
	listeners_close_smtp(listeners);
	if (listeners->admin.fd != -1)
		close(listeners->admin.fd);
	listeners->admin.fd = -1;
}
