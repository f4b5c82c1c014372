/* Every opcode of the table in a small program of its own, with the results that the PTX ISA asks for; at the
 * end the table is checked for opcodes that no program executed.
 *
 * usage: ptx_test [--dump PREFIX]   writes the programs to PREFIX0.ptx and so on, for ptxas
 */
#include "op.h"
#include "ptx_tests.h"

static void leaves_no_opcode_out(void **state) {
    uint32_t missing = 0;
    (void)state;
    if (!sim_simulated())
        skip();
    for (uint32_t i = 0; i < cudasim_opcodes(); i++)
        if (!cudasim_opcode_count(i)) {
            if (missing++ < 20)
                print_error("no program has executed %s\n", cudasim_opcode_name(i));
        }
    if (missing)
        print_error("%u of %u opcodes\n", missing, cudasim_opcodes());
    assert_int_equal(missing, 0);
    print_message("%u opcodes\n", cudasim_opcodes());
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(computes_with_integers),
        TEST(moves_bits),
        TEST(carries_as_the_machine_code_does),
        TEST(computes_with_floats),
        TEST(approximates_functions),
        TEST(computes_with_halves),
        TEST(converts_all_halves),
        TEST(converts_types),
        TEST(compares),
        TEST(loads_and_stores),
        TEST(orders_memory),
        TEST(copies_asynchronously),
        TEST(converts_addresses),
        TEST(works_atomically),
        TEST(contends),
        TEST(works_together),
        TEST(waits_at_barriers),
        TEST(follows_control),
        TEST(multiplies_matrices),
        TEST(leaves_no_opcode_out),
    };
    if (argc == 3 && !strcmp(argv[1], "--dump"))
        op_dump = argv[2];
    else if (argc != 1) {
        fprintf(stderr, "usage: ptx_test [--dump PREFIX]\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
