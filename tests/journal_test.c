/* The journal of a sweep: rows survive whatever ends the writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal.h"
#include "options.h"

static char folder[] = "/tmp/tandem-journal-XXXXXX";
static char path[64];

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/sweep.jsonl", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static int remove_file(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

static cJSON *new_row(const char *key, double value) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "row", "cell");
    cJSON_AddStringToObject(row, "key", key);
    cJSON_AddNumberToObject(row, "value", value);
    return row;
}

static void write_file(const char *text) {
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void append(journal *j, const char *key, double value) {
    tandem_message message;
    assert_int_equal(journal_append(j, new_row(key, value), &message), TANDEM_OK);
}

static void open_journal(journal *j) {
    tandem_message message;
    assert_int_equal(journal_open(j, path, &message), TANDEM_OK);
}

static void rows_are_found_after_reopening(void **state) {
    (void)state;
    journal j;
    open_journal(&j);
    append(&j, "a", 1);
    append(&j, "b", 2);
    append(&j, "a", 3);
    journal_close(&j);
    open_journal(&j);
    assert_int_equal(j.n_row, 3);
    assert_int_equal(j.n_broken, 0);
    assert_int_equal(json_number(journal_find(&j, "cell", "a"), "value"), 3); /* the latest */
    assert_int_equal(json_number(journal_find(&j, "cell", "b"), "value"), 2);
    assert_null(journal_find(&j, "cell", "c"));
    assert_null(journal_find(&j, "reference", "a"));
    assert_string_equal(json_text(j.row[0], "schema"), JOURNAL_SCHEMA);
    assert_int_equal(json_number(j.row[0], "version"), JOURNAL_VERSION);
    journal_close(&j);
}

static void a_torn_last_line_costs_only_itself(void **state) {
    (void)state;
    journal j;
    open_journal(&j);
    append(&j, "a", 1);
    journal_close(&j);
    write_file("{\"schema\":\"tandem-sweep\",\"version\":1,\"row\":\"cell\",\"key\":\"b\",\"val");
    open_journal(&j);
    assert_int_equal(j.n_row, 1);
    assert_int_equal(j.n_broken, 1);
    append(&j, "c", 4);
    journal_close(&j);
    open_journal(&j);
    assert_int_equal(j.n_row, 2);
    assert_int_equal(j.n_broken, 1);
    assert_int_equal(json_number(journal_find(&j, "cell", "c"), "value"), 4);
    journal_close(&j);
}

static void foreign_lines_are_left_alone(void **state) {
    (void)state;
    journal j;
    open_journal(&j);
    journal_close(&j);
    write_file("\n[1,2]\nhello\n{\"schema\":\"other\",\"version\":7}\n{}\n");
    open_journal(&j);
    assert_int_equal(j.n_row, 0);
    assert_int_equal(j.n_broken, 4);
    append(&j, "a", 1);
    journal_close(&j);
    open_journal(&j);
    assert_int_equal(j.n_row, 1);
    assert_int_equal(j.n_broken, 4);
    journal_close(&j);
}

static void refuses_another_schema_version(void **state) {
    (void)state;
    write_file("{\"schema\":\"tandem-sweep\",\"version\":99,\"row\":\"cell\",\"key\":\"a\"}\n");
    journal j;
    tandem_message message;
    assert_int_equal(journal_open(&j, path, &message), TANDEM_E_VERSION);
    assert_non_null(strstr(message.text, "99"));
}

static void a_full_disk_is_one_sentence(void **state) {
    (void)state;
    journal j;
    tandem_message message;
    assert_int_equal(journal_open(&j, "/dev/full", &message), TANDEM_E_INTERNAL); /* the head */
    assert_non_null(strstr(message.text, "/dev/full"));
    assert_non_null(strstr(message.text, "No space left"));
    open_journal(&j);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(journal_append(&j, new_row("a", 1), &message), TANDEM_E_INTERNAL); /* a row */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_non_null(strstr(message.text, path));
    assert_int_equal(j.n_row, 0);
    journal_close(&j);
}

/* ---- what a file says that it is ---- */

static void check_refused(const char *content, const char *words) {
    journal j;
    tandem_message message;
    char before[256] = "", after[256] = "";
    unlink(path);
    write_file(content);
    snprintf(before, sizeof before, "%s", content);
    assert_int_not_equal(journal_open(&j, path, &message), TANDEM_OK);
    assert_non_null(strstr(message.text, words));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    after[fread(after, 1, sizeof after - 1, file)] = 0;
    assert_int_equal(fclose(file), 0);
    assert_string_equal(before, after);
}

static void another_file_is_refused_and_left_as_it_is(void **state) {
    (void)state;
    check_refused("notes\n", "is no journal");
    check_refused("notes without an end", "is no journal");
    check_refused("\n", "is no journal");
    check_refused("{\"schema\":\"other\",\"version\":1}\n", "is no journal");
    check_refused("{\"schema\":\"tandem-sweep\",\"ver\n",
                  "is no journal"); /* torn, but others wrote after it */
    check_refused("hello\n{\"schema\":\"tandem-sweep\",\"version\":1,\"row\":\"cell\",\"key\":\"a\"}\n",
                  "is no journal");
}

static void a_journal_says_so_in_its_first_row(void **state) {
    (void)state;
    journal j;
    char line[256] = "";
    open_journal(&j);
    assert_int_equal(j.n_row, 0);
    journal_close(&j);
    FILE *file = fopen(path, "r");
    assert_non_null(fgets(line, sizeof line, file));
    assert_int_equal(fclose(file), 0);
    cJSON *row = cJSON_Parse(line);
    assert_string_equal(json_text(row, "schema"), JOURNAL_SCHEMA);
    assert_string_equal(json_text(row, "row"), "journal");
    assert_int_equal(json_number(row, "version"), JOURNAL_VERSION);
    cJSON_Delete(row);
    /* Power that fails in the middle of it costs nothing. */
    for (int cut = (int)strlen(line) - 1; cut > 0; cut -= 7) {
        assert_int_equal(truncate(path, cut), 0);
        open_journal(&j);
        assert_int_equal(j.n_row, 0);
        append(&j, "a", 1);
        journal_close(&j);
        open_journal(&j);
        assert_int_equal(j.n_row, 1);
        assert_int_equal(j.n_broken, 0);
        journal_close(&j);
    }
}

static void a_journal_without_a_head_goes_on(void **state) {
    (void)state;
    journal j;
    write_file("{\"row\":\"cell\",\"key\":\"a\",\"schema\":\"tandem-sweep\",\"version\":1}\n");
    open_journal(&j);
    append(&j, "b", 2);
    assert_int_equal(j.n_row, 2);
    journal_close(&j);
}

static void one_writer_at_a_time_and_the_other_is_named(void **state) {
    (void)state;
    journal a, b;
    tandem_message message;
    char pid[32];
    open_journal(&a);
    assert_int_equal(journal_open(&b, path, &message), TANDEM_E_INTERNAL);
    snprintf(pid, sizeof pid, "by process %ld;", (long)getpid());
    assert_non_null(strstr(message.text, pid));
    assert_int_equal(journal_open_existing(&b, path, &message), TANDEM_OK); /* reading is free */
    journal_close(&b);
    append(&a, "a", 1);
    assert_int_equal(journal_open(&b, path, &message),
                     TANDEM_E_INTERNAL); /* no reader has dropped the lock */
    journal_close(&a);
    open_journal(&b);
    assert_int_equal(b.n_row, 1);
    journal_close(&b);
}

static void a_folder_that_is_not_there_is_one_sentence(void **state) {
    (void)state;
    journal j;
    tandem_message message;
    assert_int_equal(journal_open(&j, "/nonexistent/sweep.jsonl", &message), TANDEM_E_INTERNAL);
    assert_non_null(strstr(message.text, "/nonexistent/sweep.jsonl"));
}

/* ---- numbers on the command line, next door ---- */

static void numbers_are_strict(void **state) {
    (void)state;
    uint32_t u;
    uint64_t b;
    float f;
    assert_true(parse_u32("4294967295", &u) && u == UINT32_MAX);
    assert_false(parse_u32("4294967296", &u));
    assert_false(parse_u32("-1", &u));
    assert_false(parse_u32("", &u));
    assert_false(parse_u32(" 1", &u));
    assert_false(parse_u32("1x", &u));
    assert_true(parse_bytes("3G", &b) && b == 3ull << 30);
    assert_true(parse_bytes("17", &b) && b == 17);
    assert_false(parse_bytes("G", &b));
    assert_false(parse_bytes("17179869184G", &b)); /* 2^64 */
    assert_true(parse_bytes("17179869183G", &b) && b == 17179869183ull << 30);
    assert_true(parse_float("0.5", &f) && f == 0.5f);
    assert_false(parse_float("nan", &f));
    assert_false(parse_float("1e99", &f));
    assert_false(parse_float("0x1p3", &f));
    assert_false(parse_float("1,5", &f));
}

static void a_journal_that_is_only_read_is_not_made(void **state) {
    (void)state;
    journal j;
    tandem_message message;
    assert_int_equal(journal_open_existing(&j, path, &message), TANDEM_E_INTERNAL);
    assert_non_null(strstr(message.text, "cannot be read"));
    assert_int_not_equal(access(path, F_OK), 0);
    journal_close(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(rows_are_found_after_reopening, remove_file),
        cmocka_unit_test_teardown(a_torn_last_line_costs_only_itself, remove_file),
        cmocka_unit_test_teardown(foreign_lines_are_left_alone, remove_file),
        cmocka_unit_test_teardown(refuses_another_schema_version, remove_file),
        cmocka_unit_test(a_journal_that_is_only_read_is_not_made),
        cmocka_unit_test_teardown(another_file_is_refused_and_left_as_it_is, remove_file),
        cmocka_unit_test_teardown(a_journal_says_so_in_its_first_row, remove_file),
        cmocka_unit_test_teardown(a_journal_without_a_head_goes_on, remove_file),
        cmocka_unit_test_teardown(one_writer_at_a_time_and_the_other_is_named, remove_file),
        cmocka_unit_test_teardown(a_full_disk_is_one_sentence, remove_file),
        cmocka_unit_test(a_folder_that_is_not_there_is_one_sentence),
        cmocka_unit_test(numbers_are_strict),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
