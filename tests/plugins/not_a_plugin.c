/* not_a_plugin.c: a shared library that knows nothing of tandem. */
int answer(void);
int answer(void) {
    return 42;
}
