#include "worker/data/readers.h"

#include <algorithm>

#include "worker/data/csv_reader.h"

namespace cairn::worker {
namespace {

constexpr ReaderEntry kReaders[] = {
    // keep sorted
    {"csv", &OpenCsvReader, &MakeCsvSplitter},
};

}  // namespace

std::span<const ReaderEntry> Readers() { return kReaders; }

Result<const ReaderEntry*> FindReader(std::string_view format) {
  const auto found = std::ranges::find(kReaders, format, &ReaderEntry::name);
  if (found != std::end(kReaders)) return found;
  std::string known;
  for (const ReaderEntry& entry : kReaders) StrAppend(known, known.empty() ? "" : ", ", entry.name);
  return absl::InvalidArgumentError(
      StrCat("data.format \"", format, "\" is not known; known: ", known));
}

}  // namespace cairn::worker
