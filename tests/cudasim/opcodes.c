/* The table of opcodes: an array of rows, and a hash of their names. Built once. */
#include "opcodes.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HASH_BITS = 15, HASH_SIZE = 1 << HASH_BITS };

static struct opcode *table;
static uint32_t n_opcode, max_opcode;
static uint32_t hash_table[HASH_SIZE]; /* index + 1 */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t hash_name(const char *name) {
    uint32_t h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return (h ^ h >> HASH_BITS) & (HASH_SIZE - 1);
}

static void give_up(const char *what, const char *name) {
    fprintf(stderr, "cudasim: %s: %s\n", what, name);
    abort();
}

void opcode_add(struct opcode opcode, const char *format, ...) {
    char name[160];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof name)
        give_up("an opcode's name is too long", name);
    if (n_opcode == max_opcode) {
        max_opcode = max_opcode ? 2 * max_opcode : 1024;
        table = realloc(table, max_opcode * sizeof *table);
    }
    opcode.name = strdup(name);
    if (!table || !opcode.name || n_opcode >= HASH_SIZE / 2)
        give_up("no room for the opcode", name);
    uint32_t h = hash_name(name);
    for (; hash_table[h]; h = (h + 1) & (HASH_SIZE - 1))
        if (!strcmp(table[hash_table[h] - 1].name, name))
            give_up("the table names an opcode twice", name);
    table[n_opcode++] = opcode;
    hash_table[h] = n_opcode;
}

static void build(void) {
    opcodes_move();
    opcodes_integer();
    opcodes_bits();
    opcodes_float();
    opcodes_double();
    opcodes_half();
    opcodes_special();
    opcodes_convert();
    opcodes_compare();
    opcodes_control();
    opcodes_sync();
    opcodes_matrix();
    opcodes_memory();
    opcodes_async();
    opcodes_atomic();
    opcodes_mbarrier();
}

const struct opcode *opcode_find(const char *name, uint32_t *index) {
    pthread_once(&once, build);
    for (uint32_t h = hash_name(name); hash_table[h]; h = (h + 1) & (HASH_SIZE - 1))
        if (!strcmp(table[hash_table[h] - 1].name, name)) {
            *index = hash_table[h] - 1;
            return &table[*index];
        }
    return NULL;
}

struct opcode *opcode_at(uint32_t index) {
    return index < n_opcode ? &table[index] : NULL;
}

uint32_t opcode_number(void) {
    pthread_once(&once, build);
    return n_opcode;
}
