#include "message.h"

#include <stdio.h>
#include <string.h>

/* Bytes of the UTF-8 sequence at s, or 0 if there is no valid one. */
static size_t utf8_sequence(const unsigned char *s) {
    static const unsigned char LEAST_SECOND[16] = {[0] = 0xa0}; /* E0: no overlong form */
    size_t n;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        n = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        n = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        n = 4;
    else
        return 0;
    for (size_t i = 1; i < n; i++) { /* the terminator is no continuation byte, so this never runs past it */
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    if (n == 3 && s[1] < LEAST_SECOND[s[0] & 15])
        return 0;
    if (s[0] == 0xed && s[1] > 0x9f) /* surrogates */
        return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static void make_printable(char *text) {
    unsigned char *s = (unsigned char *)text;
    while (*s) {
        size_t n = utf8_sequence(s);
        if (n == 0 || *s < 0x20 || *s == 0x7f) {
            *s++ = '?';
            continue;
        }
        s += n;
    }
}

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
    make_printable(message->text);
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
