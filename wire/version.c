/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/super.h"

const char carrel_version[] = CARREL_VERSION;
