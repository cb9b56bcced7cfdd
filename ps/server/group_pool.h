// Lends the memory in which requests group their keys, so that a request allocates nothing once
// the server is warm.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "ps/table/key_groups.h"

namespace cairn::ps {

// Thread-safety: all methods at once. Outlives its leases.
class GroupPool {
 public:
  using Groups = std::vector<KeyGroups>;

  // Gives its groups back when it ends.
  class Lease {
   public:
    Lease(GroupPool* pool, std::unique_ptr<Groups> groups)
        : pool_(pool), groups_(std::move(groups)) {}
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (groups_ != nullptr) pool_->Return(std::move(groups_));
    }
    Groups& operator*() { return *groups_; }

   private:
    GroupPool* pool_;
    std::unique_ptr<Groups> groups_;
  };

  // At least `count` groups, with whatever is left in them of earlier requests.
  Lease Take(std::size_t count) EXCLUDES(mu_) {
    std::unique_ptr<Groups> groups;
    {
      MutexLock lock(mu_);
      if (!idle_.empty()) {
        groups = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    if (groups == nullptr) groups = std::make_unique<Groups>();
    if (groups->size() < count) groups->resize(count);
    return Lease(this, std::move(groups));
  }

 private:
  void Return(std::unique_ptr<Groups> groups) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    idle_.push_back(std::move(groups));
  }

  Mutex mu_;
  std::vector<std::unique_ptr<Groups>> idle_ GUARDED_BY(mu_);
};

}  // namespace cairn::ps
