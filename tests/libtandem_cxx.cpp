// The public library's header is valid C++17: compiled, never run.
#include <tandem/libtandem.h>

static_assert(sizeof(tandem_session_desc) == 48, "one layout in both languages");
