#include "message.h"

#include <stdio.h>
#include <string.h>

#include <tandem/message.h>

int message_vfail(tandem_message *message, int status, const char *format, va_list args) {
    if (!message)
        return status;
    int n = vsnprintf(message->text, sizeof message->text, format, args);
    if (n < 0)
        message->text[0] = '\0';
    if (n >= (int)sizeof message->text) {
        /* Cut before a character, not inside one. */
        size_t end = sizeof message->text - 4;
        while (end > 0 && ((unsigned char)message->text[end] & 0xc0) == 0x80)
            end--;
        memcpy(message->text + end, "...", 4);
    }
    tandem_kit_printable(message->text);
    return status;
}

int message_fail(tandem_message *message, int status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    message_vfail(message, status, format, args);
    va_end(args);
    return status;
}

int message_out_of_memory(tandem_message *message, const char *what, uint64_t bytes) {
    return message_fail(message, TANDEM_E_OUT_OF_MEMORY, "out of memory: %llu bytes for %s",
                        (unsigned long long)bytes, what);
}
