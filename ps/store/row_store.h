// Records under short keys in three families: rows, dense chunks, and a few small records of the
// server itself. What the bytes mean is row_layout.h's and dense_format.h's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace cairn::ps {

enum class Family {
  kRows,
  kDense,
  kMeta,  // a few small records of the server
};

struct StoreRecord {
  std::string_view key;
  std::string_view value;
};

// Durability: PutSorted and DeleteSorted may lie in memory until Flush or Snapshot return, or until
// the store finds it time to write. A store that is opened again after a crash, or after it was
// destroyed without Flush, has each record either as the last Flush found it or as a later write
// left it; one write may have survived where an earlier one to another key has not.
//
// Errors of all methods: DataLoss for damaged stored bytes, naming the file where it is known;
// ResourceExhausted when the disk has no room, in which case a later call may succeed;
// Unavailable for other I/O errors; FailedPrecondition for writing to a store that was opened
// read-only; InvalidArgument for keys that do not ascend. After an error a write may be done in
// part: each record is as before or as wanted, and the same call may be made again.
//
// Thread-safety: every method may be called at once with every other. Writes (PutSorted,
// DeleteSorted, Flush, Snapshot) wait for each other; reads wait for nothing. A read that begins
// after a write has returned sees it; one that runs beside a write sees each record whole, as it
// was before or after. Callbacks must not call the store.
class RowStore {
 public:
  virtual ~RowStore() = default;

  // Adds or replaces `count` records, at(0) < at(1) < ... by key, of `bytes` bytes in all. Views
  // that `at` returns live until its next call.
  virtual Status PutSorted(Family family, std::size_t count, std::uint64_t bytes,
                           const std::function<StoreRecord(std::size_t)>& at) = 0;

  // Removes the records of `count` keys, at(0) < at(1) < ...; those that are not there are none.
  virtual Status DeleteSorted(Family family, std::size_t count,
                              const std::function<std::string_view(std::size_t)>& at) = 0;

  // Makes everything that was put or removed before survive the death of the process and of the
  // machine.
  virtual Status Flush() = 0;

  // The record of a key, or NotFound.
  virtual Status Get(Family family, std::string_view key, std::string* value) const = 0;

  // Looks for `keys`, strictly ascending, and visits those that have a record, in ascending order,
  // with their index in `keys`. Views live until the visitor returns.
  virtual Status GetMany(
      Family family, std::span<const std::string_view> keys,
      const std::function<void(std::size_t index, std::string_view value)>& found) const = 0;

  // Visits the records with begin <= key < end in ascending order until the visitor returns false,
  // as they were when the call began. An empty `end` means no bound. Views live until the visitor
  // returns.
  virtual Status Scan(Family family, std::string_view begin, std::string_view end,
                      const std::function<bool(const StoreRecord&)>& visit) const = 0;

  // Makes a read-only copy in `folder`, which must not be there yet: files that never change are
  // hard links, so that copies share what they have in common. Everything in it is synced.
  virtual Status Snapshot(const std::string& folder) = 0;

  // Reads everything and compares the blocks' checksums.
  virtual Status VerifyBlocks() const = 0;

  // Bytes of memory that the store holds now: records not yet written, what finds records in
  // files, caches. Files in the kernel's page cache do not count. Cheap enough for once a second.
  virtual std::uint64_t MemoryBytes() const = 0;
};

}  // namespace cairn::ps
