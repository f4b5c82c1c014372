/* embed.c: the smallest program on libtandem: makes a small synthetic model, and lets a plugin continue three
 * tokens. usage: embed PLUGIN|PATH     exit: 0 right, 1 wrong, 3 no plugin, model or device */
#include <stdio.h>

#include <tandem/libtandem.h>

enum { N_PROMPT = 3, N_NEW = 4 };

static int say(const char *what, const tandem_error *error) {
    fprintf(stderr, "%s: %s\n", what, error->message);
    return 3;
}

static int count_token(void *user, uint32_t id) {
    (void)id;
    ++*(int *)user;
    return 0;
}

static int work(const tandem_model *model, const tandem_backend *backend, tandem_error *error) {
    const tandem_session_desc desc = {.struct_size = sizeof desc, .backend = backend, .n_ctx = 16};
    const tandem_generate_desc greedy = {.struct_size = sizeof greedy, .n = N_NEW, .ignore_end = 1};
    const uint32_t prompt[N_PROMPT] = {2, 7, 11};
    tandem_generate_result result = {.struct_size = sizeof result};
    tandem_session *session = NULL;
    int n = 0;
    if (tandem_session_create(model, &desc, &session, error) != TANDEM_OK)
        return say("session", error);
    if (tandem_session_generate(session, prompt, N_PROMPT, &greedy, count_token, &n, &result, error) !=
        TANDEM_OK) {
        tandem_session_destroy(session);
        return say("generate", error);
    }
    uint32_t length = tandem_session_length(session);
    tandem_session_destroy(session);
    printf("%d tokens after %d, %u positions: %s\n", n, N_PROMPT, length, n == N_NEW ? "right" : "wrong");
    return n == N_NEW && result.n_made == N_NEW ? 0 : 1;
}

int main(int argc, char **argv) {
    tandem_error error = {.struct_size = sizeof error};
    const tandem_model_desc desc = {
        .struct_size = sizeof desc, .model = "gemma3-270m", .n_layer = 1, .n_vocab = 512, .seed = 1};
    tandem_plugin *plugin = NULL;
    tandem_model *model = NULL;
    if (argc != 2)
        return fprintf(stderr, "usage: embed PLUGIN|PATH\n"), 2;
    if (tandem_plugin_open(argv[1], NULL, &plugin, &error) != TANDEM_OK)
        return say("open", &error);
    int result = 3;
    if (tandem_model_open(&desc, &model, &error) != TANDEM_OK)
        say("model", &error);
    else
        result = work(model, tandem_plugin_backend(plugin), &error);
    tandem_model_close(model);
    tandem_plugin_close(plugin);
    return result;
}
