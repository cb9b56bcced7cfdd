// How messages about input files show places, values and names.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cairn::worker {

// "file:line:column" of the byte at `offset` of a record that starts in `line`. The column counts
// characters of UTF-8 from 1. A record may have several lines (line ends inside quotes).
std::string Position(std::string_view file, std::uint64_t line, std::string_view record,
                     std::size_t offset);

// "text" in quotes, cut to about 40 characters with "...", with bytes that are no text as \xNN.
std::string Quoted(std::string_view text);

// Text for a name that is not among `known`: `; did you mean "x"?` if one is near, else the list of
// them (`; there are: a, b, c`), cut after 40.
std::string NamesHint(std::string_view name, std::span<const std::string> known);

}  // namespace cairn::worker
