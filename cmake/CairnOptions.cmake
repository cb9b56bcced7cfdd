# Language, warnings, sanitizers, compiler cache. Options a user may set:
#   CAIRN_SANITIZE  "", "address,undefined" or "thread"
#   CAIRN_NATIVE    ON: -march=native for everything (not portable; kernels are picked at run time anyway)
#   CAIRN_WERROR    ON: warnings are errors
set(CAIRN_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize takes them")
option(CAIRN_NATIVE "Build for this machine only" OFF)
option(CAIRN_WERROR "Treat warnings as errors" ON)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
# -g1 keeps backtraces readable at a fraction of the object size and link time of full -g.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(cairn_flags INTERFACE)
target_compile_options(cairn_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
  -Woverloaded-virtual -fno-omit-frame-pointer -fno-math-errno -fno-trapping-math)
if(CAIRN_WERROR)
  target_compile_options(cairn_flags INTERFACE -Werror)
endif()
if(CAIRN_NATIVE)
  target_compile_options(cairn_flags INTERFACE -march=native)
endif()
if(CAIRN_SANITIZE)
  add_compile_options(-fsanitize=${CAIRN_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CAIRN_SANITIZE})
endif()
target_include_directories(cairn_flags INTERFACE ${PROJECT_SOURCE_DIR})

find_program(MOLD mold)
if(MOLD AND NOT CAIRN_SANITIZE)
  add_link_options(-fuse-ld=mold)
endif()
