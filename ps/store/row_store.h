// Durable records under short keys, in two families: rows and dense chunks. What the bytes mean is
// row_layout.h's and dense_format.h's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace cairn::ps {

enum class Family { kRows, kDense };

struct StoreRecord {
  std::string_view key;
  std::string_view value;
};

// Errors of all methods: DataLoss for damaged stored bytes, naming the file where it is known;
// ResourceExhausted when the disk has no room; Unavailable for other I/O errors;
// FailedPrecondition for writing to a store that was opened read-only.
// Thread-safety: reads at once with each other; writes exclude everything else.
class RowStore {
 public:
  virtual ~RowStore() = default;

  // Adds or replaces `count` records, at(0) < at(1) < ... by key, of `bytes` bytes in all. Views
  // that `at` returns live until its next call. Durable only with the next Snapshot.
  // InvalidArgument for keys that do not ascend; the store is then in no defined state.
  virtual Status PutSorted(Family family, std::size_t count, std::uint64_t bytes,
                           const std::function<StoreRecord(std::size_t)>& at) = 0;

  // The record of a key, or NotFound.
  virtual Status Get(Family family, std::string_view key, std::string* value) const = 0;

  // Visits the records with begin <= key < end in ascending order until the visitor returns false.
  // An empty `end` means no bound. Views live until the visitor returns.
  virtual Status Scan(Family family, std::string_view begin, std::string_view end,
                      const std::function<bool(const StoreRecord&)>& visit) const = 0;

  // Makes a read-only copy in `folder`, which must not be there yet: files that never change are
  // hard links, so that copies share what they have in common. Everything in it is synced.
  virtual Status Snapshot(const std::string& folder) = 0;

  // Reads everything and compares the blocks' checksums.
  virtual Status VerifyBlocks() const = 0;
};

}  // namespace cairn::ps
