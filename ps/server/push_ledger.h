// Which pushes of each client have been applied: the memory of exactly-once application.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "ps/server/ps_core.h"

namespace cairn::ps {

// A client numbers its pushes 1, 2, 3, ... and waits for each to be acknowledged, so its last
// applied number says everything. Thread-safety: all methods at once.
class PushLedger {
 private:
  struct Client {
    Mutex mu;
    std::uint64_t last GUARDED_BY(mu) = 0;
  };

 public:
  // One push being checked and applied: no other push of the same client runs beside it.
  class Entry {
   public:
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    Entry(Entry&& other) noexcept = default;
    ~Entry() NO_THREAD_SAFETY_ANALYSIS {
      if (client_ != nullptr) client_->mu.Unlock();
    }
    bool is_repeat() const { return is_repeat_; }
    // The push has been applied; without this call it may come again.
    void Commit() NO_THREAD_SAFETY_ANALYSIS {
      if (client_ != nullptr) client_->last = sequence_;
    }

   private:
    friend class PushLedger;
    explicit Entry(std::uint64_t sequence) : sequence_(sequence) {}
    std::shared_ptr<Client> client_;  // shared: Clear may drop it from the map meanwhile
    std::uint64_t sequence_;
    bool is_repeat_ = false;
  };

  // Waits for the client's push in progress. FailedPrecondition for a gap in the sequence,
  // InvalidArgument for sequence 0. A push with client 0 is never a repeat.
  Result<Entry> Begin(PushId id) EXCLUDES(mu_);
  // The last push of each client, for those of which one was applied; by client.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> Save() EXCLUDES(mu_);
  // Takes `sequence` for applied, and all before it.
  void Restore(std::uint64_t client, std::uint64_t sequence) EXCLUDES(mu_);
  // Forgets all clients: whoever pushed before must start a new sequence under a new number.
  void Clear() EXCLUDES(mu_);

 private:
  Mutex mu_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Client>> clients_ GUARDED_BY(mu_);
};

}  // namespace cairn::ps
