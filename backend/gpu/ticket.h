/* ticket.h: the life of a ticket, from issue to its times. */
#ifndef GPU_TICKET_H
#define GPU_TICKET_H

#include "program.h"

/* The next ticket, zeroed but for its number. The one that it replaces has ended. */
gpu_ticket *gpu_ticket_issue(tandem_context *context);

/* Reads the times of the runs that have ended and frees their slots. */
void gpu_tickets_collect(tandem_context *context);

#endif
