// Linked into tests that use RocksDB from several threads: options for the thread sanitizer, which
// sees nothing of the ordering inside Debian's RocksDB, as that is not built for it. Interceptors
// called from there are ignored; our own code is checked as always.
extern "C" const char* __tsan_default_options();

extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }
