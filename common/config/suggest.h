// "Did you mean ...?" for misspelt names of fields, values, flags and commands.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace cairn {

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal
// string alignment distance). Upper and lower case count as equal.
std::size_t EditDistance(std::string_view a, std::string_view b);

// The candidate nearest to `word`, or "" if none is near enough: at most one edit for each three
// characters (one for short words), or one that continues the word. The earlier of equals wins.
std::string_view NearestName(std::string_view word, std::span<const std::string> candidates);

// `; did you mean "x"?`, or "" if no candidate is near enough.
std::string DidYouMean(std::string_view word, std::span<const std::string> candidates);

}  // namespace cairn
