// StrCat(a, b, ...): text of its arguments, joined. Takes strings, characters, booleans ("true"),
// integers and floating point (shortest form that reads back equal). absl::StrCat of Debian's
// Abseil does not take std::string_view.
#pragma once

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

namespace cairn {
namespace internal {

template <typename T>
void AppendPiece(std::string& out, const T& piece) {
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    out.append(std::string_view(piece));
  } else if constexpr (requires { std::string_view(piece.data(), piece.size()); }) {
    out.append(piece.data(), piece.size());  // absl::string_view
  } else if constexpr (std::same_as<T, char>) {
    out.push_back(piece);
  } else if constexpr (std::same_as<T, bool>) {
    out.append(piece ? "true" : "false");
  } else if constexpr (std::is_enum_v<T>) {
    AppendPiece(out, static_cast<std::underlying_type_t<T>>(piece));
  } else {
    static_assert(std::is_arithmetic_v<T>, "StrCat takes text, characters and numbers");
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, piece).ptr;
    out.append(buffer, end);
  }
}

}  // namespace internal

template <typename... Pieces>
std::string StrCat(const Pieces&... pieces) {
  std::string out;
  (internal::AppendPiece(out, pieces), ...);
  return out;
}

template <typename... Pieces>
void StrAppend(std::string& out, const Pieces&... pieces) {
  (internal::AppendPiece(out, pieces), ...);
}

}  // namespace cairn
