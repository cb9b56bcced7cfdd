# Every library of the build; docs/dependencies.md has one line of why for each.
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)  # CMake's module; before gRPC
find_package(gRPC CONFIG REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(RocksDB CONFIG REQUIRED)
set(GFLAGS_USE_TARGET_NAMESPACE ON)  # RocksDB's config asks for it; the name must not depend on the order
find_package(gflags CONFIG REQUIRED)
find_package(glog CONFIG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_package(GTest CONFIG REQUIRED)
find_package(benchmark CONFIG REQUIRED)
if(NOT CAIRN_SANITIZE)
  find_package(mimalloc CONFIG REQUIRED)  # halves the CPU of bulk transfers; clashes with the sanitizers' allocators
endif()
