// The log of pushes of one parameter server: what makes an acknowledged push outlive the process
// (kill -9), or the power.
//
//   push:    lsn = Append(record); apply it to the rows; Commit(lsn); acknowledge.
//   flush:   every row that a push <= n changed is in the database, durably: DropThrough(n).
//   restart: Open; load the database; Replay(n + 1, apply); AdvanceTo(highest LSN in the database
//            + 1); then pushes again.
//
// The log numbers its records 1, 2, 3, ... (log sequence numbers, LSNs) in the order in which it
// writes them, so that a record is never there without those before it. Each record is in the
// kernel's hands when Append returns. With `sync`, Commit waits until it is on the disk; threads
// that wait at once share one sync.
//
// Files (format: ps/log/log_segment.h) are only appended to, and removed whole: nothing is written
// twice, the log keeps no records in memory, and dropping costs one unlink for each segment.
// After DropThrough(n) the log holds the records behind n and less than one segment before them.
//
// Damage. What follows the last whole record is cut off when the log is opened, if it may be a
// record that was being written; it was never acknowledged. Any other damage, also a missing file
// or a number that is out of order, is DataLoss naming the file, from Open or Replay. Not seen are
// the loss of the newest files or of the end of the newest one, and with `sync` damage to records
// that were not yet synced when the last record was appended: they look as if never written.
//
// Full disk. Appends that would leave less than the reserve are refused with ResourceExhausted and
// change nothing; they go on by themselves when there is room again. The disk is asked once for
// every 4 MiB appended, and that much more than the reserve must be free.
//
// Why not RocksDB, with numbers: docs/decisions/0003-push-log.md.
//
// Thread-safety: all methods at once, from any thread. One process at a time has the folder: the
// server's lock (ps/store/folder_lock.h) sees to it.
// Errors: Unavailable for I/O errors. When it is not known what a file holds after one, all later
// appends and commits fail with it as well: only opening the log again tells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/base/status.h"

namespace cairn::ps {

struct PushLogOptions {
  bool sync = false;  // Commit waits for the disk
  // A file is ended when it has reached this size; a record is never split.
  std::uint64_t segment_bytes = 64u << 20;
  std::uint64_t reserve_bytes = 256u << 20;  // free space that an append leaves
};

class PushLog {
 public:
  // Opens the log in `folder`, making both if they are not there. Reads the newest file through.
  static Result<std::unique_ptr<PushLog>> Open(const std::string& folder,
                                               const PushLogOptions& options);
  virtual ~PushLog() = default;

  // Writes the pieces as one record and returns its LSN, last_lsn() + 1. The pieces are read, not
  // kept. After an error there is no such record, and the number is given to the next one.
  virtual Result<std::uint64_t> Append(std::span<const std::span<const std::byte>> parts) = 0;

  // Returns when the record (lsn <= last_lsn()) and all before it are as durable as `sync` says.
  virtual Status Commit(std::uint64_t lsn) = 0;

  // Visits the records with LSN >= from in ascending order. Payloads begin at a multiple of 8 in
  // memory and live until the visitor returns. An error of the visitor ends it. DataLoss when
  // records that were in the log at or behind `from` are missing. The visitor must not call the
  // log; appends and drops wait meanwhile.
  virtual Status Replay(std::uint64_t from,
                        const std::function<Status(std::uint64_t lsn,
                                                   std::span<const std::byte> payload)>& visit) = 0;

  // Forgets records <= lsn: removes the files that hold no other. lsn >= last_lsn() empties the
  // log; the numbering goes on.
  virtual Status DropThrough(std::uint64_t lsn) = 0;

  // The next record gets this LSN, or last_lsn() + 1 if that is higher. For a database that knows
  // of pushes which the log lost in a power cut.
  virtual Status AdvanceTo(std::uint64_t next_lsn) = 0;

  // LSN of the oldest record that is held, last_lsn() + 1 if there is none; and of the newest one
  // that was ever held (or AdvanceTo's, less 1), 0 if there was none.
  virtual std::uint64_t first_lsn() const = 0;
  virtual std::uint64_t last_lsn() const = 0;
  // Size of the files.
  virtual std::uint64_t Bytes() const = 0;
};

}  // namespace cairn::ps
