/* What the shims and the Go code of this library share. */
#ifndef USERTCP_PACKETDRILL_SHIM_H
#define USERTCP_PACKETDRILL_SHIM_H

#include <stddef.h>
#include <stdint.h>

int pdOffload(void);
#endif
