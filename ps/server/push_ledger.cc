#include "ps/server/push_ledger.h"

#include <algorithm>

namespace cairn::ps {

Result<PushLedger::Entry> PushLedger::Begin(PushId id) NO_THREAD_SAFETY_ANALYSIS {
  Entry entry(id.sequence);
  if (id.client == 0) return entry;
  if (id.sequence == 0) return absl::InvalidArgumentError("pushes are numbered from 1, not 0");
  {
    MutexLock lock(mu_);
    const auto found = clients_.find(id.client);
    if (found != clients_.end()) {
      entry.client_ = found->second;
    } else if (id.sequence == 1) {
      entry.client_ = clients_.emplace(id.client, std::make_shared<Client>()).first->second;
    } else {  // not remembered: numbers that are made up must not fill the memory
      return absl::FailedPreconditionError(StrCat("client ", id.client,
                                                  " is not known here, but its push has number ",
                                                  id.sequence, ", not 1"));
    }
  }
  entry.client_->mu.Lock();
  const std::uint64_t last = entry.client_->last;
  if (id.sequence > last + 1) {
    return absl::FailedPreconditionError(StrCat("push ", id.sequence, " of client ", id.client,
                                                " does not follow on its push ", last));
  }
  entry.is_repeat_ = id.sequence <= last;
  return entry;
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> PushLedger::Save() {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> saved;
  MutexLock lock(mu_);
  for (const auto& [number, client] : clients_) {
    MutexLock client_lock(client->mu);
    if (client->last > 0) saved.emplace_back(number, client->last);
  }
  std::ranges::sort(saved);
  return saved;
}

void PushLedger::Restore(std::uint64_t number, std::uint64_t sequence) {
  MutexLock lock(mu_);
  auto& client = clients_[number];
  if (client == nullptr) client = std::make_shared<Client>();
  MutexLock client_lock(client->mu);
  client->last = std::max(client->last, sequence);
}

void PushLedger::Clear() {
  MutexLock lock(mu_);
  clients_.clear();
}

}  // namespace cairn::ps
