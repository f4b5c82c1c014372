// abi_layout_cxx.cpp: the same layout, seen by C++17.
#include <cstddef>

#include <tandem/tandem.h>

#define STRUCT(type, size) static_assert(sizeof(type) == (size), "size of " #type);
#define MEMBER(type, member, offset, size)                                                                   \
    static_assert(offsetof(type, member) == (offset), "offset of " #type "." #member);                       \
    static_assert(sizeof(type::member) == (size), "size of " #type "." #member);
#define CONSTANT(name, value) static_assert((name) == (value), "value of " #name);
#include "abi_layout.def"

// The exported symbol has C linkage whoever compiles the header.
tandem_backend_query_fn tandem_query_address();
tandem_backend_query_fn tandem_query_address() {
    return &tandem_backend_query;
}
