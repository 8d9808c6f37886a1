/* SPDX-License-Identifier: ISC */
/* The list of pages; see pages.h. */
#include "admin/pages.h"

#include <string.h>

static struct page *find(struct pages *pages, enum ipc_process process, unsigned index)
{
	for (size_t i = 0; i < pages->count; i++) {
		if (pages->list[i].process == process && pages->list[i].index == index)
			return &pages->list[i];
	}
	return NULL;
}

bool pages_set(struct pages *pages, enum ipc_process process, unsigned index,
	const struct counters *counters)
{
	struct page *page = find(pages, process, index);

	if (page != NULL) {
		counters_unmap(page->counters);
		page->counters = counters;
		if (counters == NULL)
			*page = pages->list[--pages->count];
		return true;
	}
	if (counters == NULL)
		return true;
	if (pages->count == PAGES_MAX) {
		counters_unmap(counters);
		return false;
	}
	pages->list[pages->count++] =
		(struct page){.process = process, .index = index, .counters = counters};
	return true;
}

const struct counters *pages_find(
	const struct pages *pages, enum ipc_process process, unsigned index)
{
	for (size_t i = 0; i < pages->count; i++) {
		if (pages->list[i].process == process && pages->list[i].index == index)
			return pages->list[i].counters;
	}
	return NULL;
}

void pages_total(const struct pages *pages, uint64_t total_out[COUNTER_COUNT])
{
	const struct counters *all[PAGES_MAX];
	size_t count = 0;

	memset(total_out, 0, COUNTER_COUNT * sizeof *total_out);
	all[count] = pages_find(pages, IPC_PROCESS_MASTER, 0);
	if (all[count++] == NULL)
		return;
	for (size_t i = 0; i < pages->count; i++) {
		if (pages->list[i].process != IPC_PROCESS_MASTER)
			all[count++] = pages->list[i].counters;
	}
	counters_total(all, count, total_out);
}

void pages_clear(struct pages *pages)
{
	for (size_t i = 0; i < pages->count; i++)
		counters_unmap(pages->list[i].counters);
	pages->count = 0;
}
