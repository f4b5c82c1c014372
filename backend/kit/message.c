/* message.c: errors that cross the ABI (contract: tandem/message.h). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tandem/message.h>

#define STATUS_TABLE(X)                                                                                      \
    X(OK, "done")                                                                                            \
    X(E_INVALID, "an argument breaks a documented rule")                                                     \
    X(E_UNSUPPORTED, "this plugin or device does not offer that")                                            \
    X(E_OUT_OF_MEMORY, "memory or the memory cap is exhausted")                                              \
    X(E_BUSY, "as many runs are pending as the context takes")                                               \
    X(E_TIMEOUT, "the work was not finished in the given time")                                              \
    X(E_DEVICE_LOST, "the device is lost")                                                                   \
    X(E_NEEDS_NEW_PROCESS, "the driver cannot recover inside this process")                                  \
    X(E_NO_DEVICE, "there is no device or driver for this plugin")                                           \
    X(E_VERSION, "the ABI versions of host and plugin do not fit")                                           \
    X(E_INTERNAL, "a driver call failed")

typedef struct status_words {
    tandem_status status;
    const char *name;
    const char *sentence;
} status_words;

#define WORDS(code, sentence) {TANDEM_##code, #code, sentence},
static const status_words table[] = {STATUS_TABLE(WORDS)};

static const status_words *find(tandem_status status) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status)
            return &table[i];
    return NULL;
}

const char *tandem_kit_status_name(tandem_status status) {
    const status_words *words = find(status);
    if (words == NULL)
        return "unknown status";
    return words->name[0] == 'E' ? words->name + 2 : words->name;
}

const char *tandem_kit_status_sentence(tandem_status status) {
    const status_words *words = find(status);
    return words != NULL ? words->sentence : "the status is none that the ABI knows";
}

int tandem_kit_status_known(tandem_status status) {
    return find(status) != NULL;
}

/* Ends `text`, which was cut after `n` bytes, before the first byte of a character that is not whole. */
static void cut_between_characters(char *text, size_t n) {
    size_t start = n;
    while (start > 0 && n - start < 4 && ((unsigned char)text[start - 1] & 0xc0u) == 0x80u)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t need = lead >= 0xf0u ? 4 : lead >= 0xe0u ? 3 : lead >= 0xc0u ? 2 : 1;
    if (n - (start - 1) < need)
        text[start - 1] = '\0';
}

TANDEM_KIT_PRINTF(5, 0)
static void fill(tandem_error *error, tandem_status status, uint32_t op_index, int64_t driver_code,
                 const char *format, va_list arguments) {
    if (error == NULL || error->struct_size < sizeof error->struct_size)
        return;
    tandem_error local = {
        .struct_size = sizeof local, .status = status, .driver_code = driver_code, .op_index = op_index};
    uint32_t room = error->struct_size < sizeof local ? error->struct_size : (uint32_t)sizeof local;
    const size_t at = offsetof(tandem_error, message);
    if (room > at) {
        int n = vsnprintf(local.message, room - at, format, arguments);
        if (n >= 0 && (size_t)n >= room - at)
            cut_between_characters(local.message, room - at - 1);
    }
    local.struct_size = room;
    memcpy(error, &local, room);
}

tandem_status tandem_kit_fail(tandem_error *error, tandem_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, TANDEM_NONE, 0, format, arguments);
    va_end(arguments);
    return status;
}

tandem_status tandem_kit_fail_op(tandem_error *error, tandem_status status, uint32_t op_index,
                                 const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, op_index, 0, format, arguments);
    va_end(arguments);
    return status;
}

tandem_status tandem_kit_fail_driver(tandem_error *error, tandem_status status, int64_t driver_code,
                                     const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, TANDEM_NONE, driver_code, format, arguments);
    va_end(arguments);
    return status;
}

/* Bytes of the UTF-8 sequence at s and its code point, or 0 if there is no valid one. */
static size_t take_character(const unsigned char *s, uint32_t *code) {
    static const uint32_t LEAST[5] = {0, 0, 0x80, 0x800, 0x10000}; /* below: an overlong form */
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    *code = n < 2 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) { /* the terminator is no continuation byte: this never runs past it */
        if ((s[i] & 0xc0u) != 0x80u)
            return 0;
        *code = *code << 6 | (s[i] & 0x3fu);
    }
    if (*code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff) || *code < LEAST[n])
        return 0;
    return n;
}

/* What moves a terminal's cursor, rings, or turns the direction of writing round. */
static int is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0x200e || code == 0x200f;
}

void tandem_kit_printable(char *text) {
    unsigned char *s = (unsigned char *)text;
    while (*s) {
        uint32_t code;
        size_t n = take_character(s, &code);
        if (n == 0 || is_control(code)) {
            n = n == 0 ? 1 : n;
            memset(s, '?', n);
        }
        s += n;
    }
}
