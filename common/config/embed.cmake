# cmake -DINPUT=file -DOUTPUT=file.cc -DNAME=kName -P embed.cmake
# Writes a C++ source that defines `extern const std::string_view kName` in namespace cairn with the
# bytes of INPUT.
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "((0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,))" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <string_view>
namespace cairn {
namespace {
constexpr unsigned char kBytes[] = {
${bytes}};
}  // namespace
extern const std::string_view ${NAME};
const std::string_view ${NAME}(reinterpret_cast<const char*>(kBytes), sizeof kBytes);
}  // namespace cairn
")
