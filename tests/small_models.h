/* small_models.h: the presets cut down to what a test can look at whole. */
#ifndef TANDEM_TESTS_SMALL_MODELS_H
#define TANDEM_TESTS_SMALL_MODELS_H

#include "synth.h"

/* A call that must succeed; it may pass &check_message. */
#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        tandem_message check_message = {"(no message)"};                                                     \
        int check_status = (call);                                                                           \
        if (check_status != TANDEM_OK)                                                                       \
            fail_msg("%s: status %d, %s", #call, check_status, check_message.text);                          \
    } while (0)

static const model_overrides SMALL = {.n_layer = 10,
                                      .d_model = 256,
                                      .d_ff = 256,
                                      .n_vocab = 64,
                                      .n_head = 4,
                                      .n_kv_head = 2,
                                      .head_dim = 32,
                                      .window = 8};

static inline void small_preset(model_config *c, const char *preset) {
    model_overrides o = SMALL;
    if (strcmp(preset, "gemma4-26b-a4b") == 0) {
        o.n_expert = 4;
        o.n_used = 2;
        o.d_expert = 64;
    }
    CHECK(model_config_preset(c, preset, &check_message));
    CHECK(model_config_override(c, &o, &check_message));
}

static inline void write_small(const char *path, const char *preset, const char *mix_name) {
    model_config c;
    model_mix mix;
    synth *s;
    small_preset(&c, preset);
    CHECK(model_mix_by_name(&mix, mix_name, &check_message));
    CHECK(synth_create(&s, &c, &mix, 5, &check_message));
    CHECK(synth_write(s, path, NULL, NULL, &check_message));
    synth_destroy(s);
}

#endif
