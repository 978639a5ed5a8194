// SPDX-License-Identifier: MIT
// The guest's init: sets the machine up, runs one command, checks, and hands its exit status to the
// host.
#include <stdint.h>

#include "agent.h"

int main(void)
{
	static struct run_config config;
	static uint8_t payload[FRAME_PAYLOAD_MAX + 1];
	size_t bytes;

	setup_early();
	port_open();
	setup_config(&config);
	setup_drives(&config);
	setup_root(&config);
	setup_module(&config);

	uint32_t status = command_run(&config);
	finish(&config);
	port_send(FRAME_STATUS, &status, sizeof(status));
	while (port_receive(payload, &bytes) != FRAME_BYE)
		;
	power_off();
}
