/* SPDX-License-Identifier: ISC */
/*
 * From fork to a child's own main: which descriptors, memory and names it keeps.
 */
#ifndef MASTER_SPAWN_H
#define MASTER_SPAWN_H

#include "master/children.h"

/*
 * Forks the slot's process.  slot->page is its own; control is its end of the control socket.
 * Returns the PID, or -1 with errno.  Never returns in the child.
 */
pid_t spawn_child(struct children *children, const struct child_slot *slot, int control)
	__attribute__((warn_unused_result));

#endif
