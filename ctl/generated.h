/* SPDX-License-Identifier: ISC */
/* The form of generated credentials, which no password may have: pst_, 12 of a-z2-7, _, 32 more. */
#ifndef CTL_GENERATED_H
#define CTL_GENERATED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool generated_form(const uint8_t *secret, size_t len);

#endif
