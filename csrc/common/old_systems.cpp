// Compiled into wheels alone (FREQKIT_PORTABLE), so that a library built with a new g++ and glibc loads on systems as
// old as manylinux_2_28: what newer versions of libstdc++ and glibc would be asked for is defined here, and not
// exported.
#include <new>
#include <sstream>

template class std::basic_stringbuf<char>;
template class std::basic_ostringstream<char>;
template class std::basic_stringstream<char>;

extern "C" {
char __libc_single_threaded = 0;  // shared pointers then always count atomically
}

namespace std {
void __throw_bad_array_new_length() { throw std::bad_alloc(); }
}  // namespace std
