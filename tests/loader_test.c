/* loader_test.c: plugins that are found, refused, shared and unloaded. The plugins that are wrong in every
 * way come from tests/plugins; TANDEM_TEST_PLUGINS is the folder that they were built into. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <tandem/negotiate.h>

#include "loader.h"

#define ODD TANDEM_TEST_PLUGINS "/libtandem_odd.so"

/* What odd.c tells of itself. */
typedef struct odd_report {
    uint32_t n_query;
    const tandem_host *host;
} odd_report;

static const odd_report *report_of(const tandem_plugin *plugin) {
    return tandem_plugin_backend(plugin)->get_interface("odd_report/1");
}

static tandem_status open_with(const char *name, const char *option, tandem_plugin **plugin,
                               tandem_error *error) {
    const char *options[] = {option};
    const tandem_host host = {.struct_size = sizeof host, .n_options = 1, .options = options};
    *error = (tandem_error){.struct_size = sizeof *error};
    *plugin = NULL;
    return tandem_plugin_open(name, &host, plugin, error);
}

static int is_loaded(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL)
        return 0;
    dlclose(library);
    return 1;
}

/* The plugin `name` must be refused with this status and these words, and must not stay loaded. */
static void refuses(int line, const char *name, const char *option, tandem_status status, const char *words) {
    tandem_plugin *plugin;
    tandem_error error;
    tandem_status answer = open_with(name, option, &plugin, &error);
    if (answer != status || strstr(error.message, words) == NULL)
        fail_msg("line %d, %s, %s: %d \"%s\"", line, name, option, answer, error.message);
    assert_null(plugin);
    assert_int_equal(error.status, status);
    if (strchr(name, '/') != NULL && is_loaded(name))
        fail_msg("line %d: %s stays loaded", line, name);
}

#define REFUSES(name, option, status, words) refuses(__LINE__, name, option, status, words)

static tandem_plugin *opens(const char *name, const char *option) {
    tandem_plugin *plugin;
    tandem_error error;
    if (open_with(name, option, &plugin, &error) != TANDEM_OK)
        fail_msg("%s: %s", name, error.message);
    return plugin;
}

/* A file with these bytes in a folder of its own; free the path with remove_file. */
static char *file_with(const char *name, const void *bytes, size_t n) {
    char folder[] = "/tmp/tandem-loader-XXXXXX", path[PATH_MAX];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    return strdup(path);
}

static void remove_file(char *path) {
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    free(path);
}

/* ---- finding ---- */

static void opens_by_path_and_by_name(void **state) {
    (void)state;
    char absolute[PATH_MAX];
    assert_non_null(realpath(ODD, absolute));
    tandem_plugin *by_path = opens(ODD, "oddity=1");
    assert_string_equal(tandem_plugin_path(by_path), absolute);
    assert_string_equal(tandem_plugin_backend(by_path)->descriptor->name, "odd");
    tandem_plugin_close(by_path);

    setenv("TANDEM_PLUGIN_PATH", "/nonexistent::" TANDEM_TEST_PLUGINS ":/tmp", 1);
    tandem_plugin *by_name = opens("odd", "oddity=1");
    assert_string_equal(tandem_plugin_path(by_name), absolute);
    tandem_plugin_close(by_name);
    unsetenv("TANDEM_PLUGIN_PATH");

    char here[PATH_MAX];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(TANDEM_TEST_PLUGINS), 0);
    tandem_plugin *relative = opens("libtandem_odd.so", "oddity=1");
    assert_string_equal(tandem_plugin_path(relative), absolute);
    tandem_plugin_close(relative);
    assert_int_equal(chdir(here), 0);
}

static void says_where_it_looked(void **state) {
    (void)state;
    setenv("TANDEM_PLUGIN_PATH", "/first:/second", 1);
    REFUSES("nosuch", "oddity=1", TANDEM_E_NO_DEVICE,
            "there is no plugin nosuch: no libtandem_nosuch.so in /first, /second");
    unsetenv("TANDEM_PLUGIN_PATH");
    REFUSES("odd", "oddity=1", TANDEM_E_NO_DEVICE, "there is no plugin odd");
    REFUSES("/nonexistent/libtandem_x.so", "oddity=1", TANDEM_E_NO_DEVICE, strerror(ENOENT));
    REFUSES("", "oddity=1", TANDEM_E_INVALID, "needs a name or a path");
    tandem_plugin *plugin;
    assert_int_equal(tandem_plugin_open(NULL, NULL, &plugin, NULL), TANDEM_E_INVALID);
    char long_name[3 * PATH_MAX];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    REFUSES(long_name, "oddity=1", TANDEM_E_NO_DEVICE, "there is no plugin");
    long_name[0] = '/';
    REFUSES(long_name, "oddity=1", TANDEM_E_NO_DEVICE, strerror(ENAMETOOLONG));
}

static void lists_the_plugins_of_all_folders(void **state) {
    (void)state;
    char *other = file_with("libtandem_odd.so", "x", 1); /* found first: hides the real one */
    char folders[PATH_MAX + 64], path[PATH_MAX];
    snprintf(folders, sizeof folders, "%.*s:%s", (int)(strrchr(other, '/') - other), other,
             TANDEM_TEST_PLUGINS);
    setenv("TANDEM_PLUGIN_PATH", folders, 1);
    tandem_plugin_file *files;
    uint32_t n, n_odd = 0;
    assert_int_equal(tandem_plugin_list(&files, &n, NULL), TANDEM_OK);
    assert_non_null(realpath(other, path));
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            assert_true(strcmp(files[i - 1].name, files[i].name) < 0);
        if (strcmp(files[i].name, "odd") == 0) {
            n_odd++;
            assert_string_equal(files[i].path, path);
        }
    }
    assert_int_equal(n_odd, 1);
    tandem_plugin_list_free(files, n);
    /* The first file found is the one that counts: no falling through to the good one. */
    REFUSES("odd", "oddity=1", TANDEM_E_UNSUPPORTED, "is not a plugin");
    unsetenv("TANDEM_PLUGIN_PATH");
    remove_file(other);
}

/* ---- files that are no plugins ---- */

static void refuses_files_that_are_no_plugins(void **state) {
    (void)state;
    REFUSES(TANDEM_TEST_PLUGINS "/libtandem_not_a_plugin.so", "oddity=1", TANDEM_E_UNSUPPORTED,
            "it has no function tandem_backend_query");
    REFUSES("/tmp/", "oddity=1", TANDEM_E_UNSUPPORTED, "it is not a file");
    REFUSES("/dev/null", "oddity=1", TANDEM_E_UNSUPPORTED, "it is not a file");
    char *empty = file_with("libtandem_empty.so", "", 0);
    REFUSES(empty, "oddity=1", TANDEM_E_UNSUPPORTED, "it is no shared library");
    remove_file(empty);
    char *text = file_with("libtandem_text.so", "#!/bin/sh\necho no\n", 18);
    REFUSES(text, "oddity=1", TANDEM_E_UNSUPPORTED, "it is no shared library");
    remove_file(text);
}

/* A good plugin cut anywhere: refused while a byte that would be mapped is missing, and never the end of the
 * process. */
static void refuses_cut_plugins(void **state) {
    (void)state;
    FILE *file = fopen(ODD, "rb");
    assert_non_null(file);
    static unsigned char bytes[1 << 22];
    size_t n = fread(bytes, 1, sizeof bytes, file), mapped = 0;
    fclose(file);
    assert_true(n > 4096 && n < sizeof bytes);
    ElfW(Ehdr) header;
    memcpy(&header, bytes, sizeof header);
    for (int i = 0; i < header.e_phnum; i++) {
        ElfW(Phdr) part;
        memcpy(&part, bytes + header.e_phoff + i * sizeof part, sizeof part);
        if (part.p_type == PT_LOAD && part.p_offset + part.p_filesz > mapped)
            mapped = part.p_offset + part.p_filesz;
    }
    assert_true(mapped > 4096 && mapped <= n);
    for (size_t cut = 0; cut < mapped; cut += cut < 1024 ? 7 : 509) {
        char *path = file_with("libtandem_cut.so", bytes, cut);
        REFUSES(path, "oddity=1", TANDEM_E_UNSUPPORTED, "is not a plugin");
        remove_file(path);
    }
    char *path = file_with("libtandem_cut.so", bytes, mapped - 1);
    REFUSES(path, "oddity=1", TANDEM_E_UNSUPPORTED, "the file is cut short");
    remove_file(path);
    bytes[offsetof(ElfW(Ehdr), e_machine)] ^= 1;
    path = file_with("libtandem_foreign.so", bytes, n);
    REFUSES(path, "oddity=1", TANDEM_E_UNSUPPORTED, "it does not load here");
    remove_file(path);
    bytes[EI_DATA] ^= 3;
    path = file_with("libtandem_foreign.so", bytes, n);
    REFUSES(path, "oddity=1", TANDEM_E_UNSUPPORTED, "another kind of machine");
    remove_file(path);
}

/* ---- negotiation ---- */

static void refuses_other_versions(void **state) {
    (void)state;
    /* Polite plugins refuse; blind ones answer OK and are refused by the host. The words are the same. */
    REFUSES(ODD, "major=1", TANDEM_E_VERSION,
            "refuses: the plugin is built for ABI 1.1 and the host for ABI 0.1");
    REFUSES(ODD, "minor=9", TANDEM_E_VERSION, "the plugin is built for ABI 0.9 and the host for ABI 0.1");
    REFUSES(ODD, "minor=9", TANDEM_E_VERSION, "use a newer host");
    REFUSES(ODD, "minor=0", TANDEM_E_VERSION, "use a newer plugin");
    const struct {
        const char *options[2];
        const char *words;
    } blind[] = {
        {{"blind=1", "major=1"},
         "cannot be used: the plugin is built for ABI 1.1 and the host for ABI 0.1, and major"},
        {{"blind=1", "major=4294967295"}, "ABI 4294967295.1"},
        {{"blind=1", "minor=2"},
         "cannot be used: the plugin is built for ABI 0.2 and the host for ABI 0.1, and before"},
        {{"blind=1", "minor=0"}, "use a newer plugin"},
    };
    for (size_t i = 0; i < sizeof blind / sizeof *blind; i++) {
        const tandem_host host = {
            .struct_size = sizeof host, .n_options = 2, .options = (const char *const *)blind[i].options};
        tandem_plugin *plugin = NULL;
        tandem_error error = {.struct_size = sizeof error};
        assert_int_equal(tandem_plugin_open(ODD, &host, &plugin, &error), TANDEM_E_VERSION);
        if (strstr(error.message, blind[i].words) == NULL)
            fail_msg("%s", error.message);
        assert_null(plugin);
    }
}

static void passes_a_refusal_on(void **state) {
    (void)state;
    REFUSES(ODD, "refuse=the moon is full", TANDEM_E_NO_DEVICE, "libtandem_odd.so refuses: the moon is full");
    REFUSES(ODD, "status=-8", TANDEM_E_NO_DEVICE, "refuses: there is no device or driver");
    REFUSES(ODD, "status=-9", TANDEM_E_VERSION, "refuses: the ABI versions");
    REFUSES(ODD, "status=-77", TANDEM_E_INTERNAL, "refuses: ");
    REFUSES(ODD, "status=5", TANDEM_E_INTERNAL, "refuses: ");
    REFUSES(ODD, "unterminated=1", TANDEM_E_NO_DEVICE, "refuses: xxx");
}

static void refuses_tables_that_are_not_whole(void **state) {
    (void)state;
#define TRY(slot) REFUSES(ODD, "missing=" #slot, TANDEM_E_UNSUPPORTED, "lacks the mandatory function " #slot);
    TANDEM_KIT_SLOTS(TRY)
#undef TRY
    REFUSES(ODD, "descriptor=none", TANDEM_E_UNSUPPORTED, "has no descriptor");
    REFUSES(ODD, "descriptor=short", TANDEM_E_UNSUPPORTED, "tandem_descriptor.struct_size is 8");
    REFUSES(ODD, "string=name", TANDEM_E_UNSUPPORTED, "descriptor has no name");
    REFUSES(ODD, "string=needs", TANDEM_E_UNSUPPORTED, "descriptor has no needs");
    REFUSES(ODD, "filled=0", TANDEM_E_UNSUPPORTED, "filled 0 bytes");
    REFUSES(ODD, "filled=100", TANDEM_E_UNSUPPORTED, "filled 100 bytes");
    REFUSES(ODD, "filled=100000", TANDEM_E_UNSUPPORTED, "filled 100000 bytes");
    REFUSES(ODD, "garbage=1", TANDEM_E_VERSION, "ABI 2863311530.2863311530");
}

static void refuses_a_host_struct_that_breaks_the_rules(void **state) {
    (void)state;
    tandem_plugin *plugin = NULL;
    tandem_error error = {.struct_size = sizeof error};
    struct {
        tandem_host host;
        uint64_t news;
    } newer = {.host = {.struct_size = sizeof newer}};
    assert_int_equal(tandem_plugin_open(ODD, &newer.host, &plugin, &error), TANDEM_OK);
    tandem_plugin_close(plugin);
    plugin = NULL;
    newer.news = 1;
    assert_int_equal(tandem_plugin_open(ODD, &newer.host, &plugin, &error), TANDEM_E_UNSUPPORTED);
    newer.news = 0;
    newer.host.n_options = 1;
    assert_int_equal(tandem_plugin_open(ODD, &newer.host, &plugin, &error), TANDEM_E_INVALID);
    const char *options[] = {NULL};
    newer.host.options = options;
    assert_int_equal(tandem_plugin_open(ODD, &newer.host, &plugin, &error), TANDEM_E_INVALID);
    assert_non_null(strstr(error.message, "options[0]"));
    newer.host.struct_size = 0;
    assert_int_equal(tandem_plugin_open(ODD, &newer.host, &plugin, &error), TANDEM_E_INVALID);
    assert_null(plugin);
    assert_false(is_loaded(ODD));
}

/* ---- sharing and unloading ---- */

static void two_opens_share_one_plugin(void **state) {
    (void)state;
    tandem_plugin *first = opens(ODD, "oddity=1"), *second = opens(ODD, "oddity=1");
    assert_ptr_equal(first, second);
    assert_int_equal(report_of(first)->n_query, 1);
    tandem_plugin *third;
    tandem_error error;
    assert_int_equal(open_with(ODD, "oddity=2", &third, &error), TANDEM_E_INVALID);
    assert_non_null(strstr(error.message, "loaded already, with other services or options"));
    assert_int_equal(tandem_plugin_open(ODD, NULL, &third, &error), TANDEM_E_INVALID);
    tandem_plugin_close(first);
    assert_true(is_loaded(ODD));
    assert_int_equal(report_of(second)->n_query, 1);
    tandem_plugin_close(second);
    assert_false(is_loaded(ODD));
    tandem_plugin_close(NULL);
}

static void a_reload_starts_afresh(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        tandem_plugin *plugin = opens(ODD, i % 2 == 0 ? "oddity=1" : "oddity=2");
        assert_int_equal(report_of(plugin)->n_query, 1);
        tandem_plugin_close(plugin);
        assert_false(is_loaded(ODD));
    }
}

static void the_plugin_keeps_its_own_copy_of_the_host(void **state) {
    (void)state;
    char option[] = "oddity=1", cache[] = "/var/cache";
    const char *options[] = {option};
    tandem_host host = {
        .struct_size = sizeof host, .n_options = 1, .options = options, .cache_dir = cache, .abi_major = 77};
    tandem_plugin *plugin;
    tandem_error error = {.struct_size = sizeof error};
    assert_int_equal(tandem_plugin_open(ODD, &host, &plugin, &error), TANDEM_OK);
    memset(option, 'z', sizeof option - 1);
    memset(cache, 'z', sizeof cache - 1);
    options[0] = NULL;
    memset(&host, 0xa5, sizeof host);
    const tandem_host *kept = report_of(plugin)->host;
    assert_string_equal(kept->options[0], "oddity=1");
    assert_string_equal(kept->cache_dir, "/var/cache");
    assert_int_equal(kept->abi_major, TANDEM_ABI_MAJOR);
    assert_null(kept->error);
    tandem_plugin_close(plugin);
}

static void symbols_of_plugins_stay_private(void **state) {
    (void)state;
    tandem_plugin *plugin = opens(ODD, "oddity=1");
    assert_null(dlsym(RTLD_DEFAULT, TANDEM_QUERY_SYMBOL));
    tandem_plugin_close(plugin);
}

static void *open_and_close(void *failures) {
    for (int i = 0; i < 100; i++) {
        tandem_plugin *plugin = NULL;
        tandem_error error = {.struct_size = sizeof error};
        if (tandem_plugin_open(ODD, NULL, &plugin, &error) != TANDEM_OK || report_of(plugin)->n_query != 1)
            ++*(int *)failures;
        tandem_plugin_close(plugin);
    }
    return NULL;
}

static void threads_may_open_and_close_at_will(void **state) {
    (void)state;
    enum { N_THREAD = 6 };
    pthread_t threads[N_THREAD];
    int failures[N_THREAD] = {0};
    for (int t = 0; t < N_THREAD; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, open_and_close, &failures[t]), 0);
    for (int t = 0; t < N_THREAD; t++) {
        pthread_join(threads[t], NULL);
        assert_int_equal(failures[t], 0);
    }
    assert_false(is_loaded(ODD));
}

/* Last: it stays. */
static void a_permanent_plugin_stays_loaded_and_is_asked_once(void **state) {
    (void)state;
    tandem_plugin *plugin = opens(ODD, "permanent=1");
    tandem_plugin_close(plugin);
    assert_true(is_loaded(ODD));
    plugin = opens(ODD, "permanent=1");
    assert_int_equal(report_of(plugin)->n_query, 1);
    assert_string_equal(report_of(plugin)->host->options[0], "permanent=1");
    tandem_plugin_close(plugin);
    tandem_plugin *other;
    tandem_error error;
    assert_int_equal(open_with(ODD, "oddity=1", &other, &error), TANDEM_E_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_by_path_and_by_name),
        cmocka_unit_test(says_where_it_looked),
        cmocka_unit_test(lists_the_plugins_of_all_folders),
        cmocka_unit_test(refuses_files_that_are_no_plugins),
        cmocka_unit_test(refuses_cut_plugins),
        cmocka_unit_test(refuses_other_versions),
        cmocka_unit_test(passes_a_refusal_on),
        cmocka_unit_test(refuses_tables_that_are_not_whole),
        cmocka_unit_test(refuses_a_host_struct_that_breaks_the_rules),
        cmocka_unit_test(two_opens_share_one_plugin),
        cmocka_unit_test(a_reload_starts_afresh),
        cmocka_unit_test(the_plugin_keeps_its_own_copy_of_the_host),
        cmocka_unit_test(symbols_of_plugins_stay_private),
        cmocka_unit_test(threads_may_open_and_close_at_will),
        cmocka_unit_test(a_permanent_plugin_stays_loaded_and_is_asked_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
