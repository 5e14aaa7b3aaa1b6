/* SPDX-License-Identifier: Apache-2.0 */
#include "version.h"

const char carrel_version[] = CARREL_VERSION;
