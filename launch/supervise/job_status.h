// What a cluster is doing, for `launch/cluster status`: from its files and, while it runs, from its
// coordinator and its parameter servers.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "launch/supervise/cluster_state.h"
#include "launch/supervise/server_status.h"

namespace cairn::proto {
class JobStatusReply;
class TrainState;
}  // namespace cairn::proto

namespace cairn::launch {

struct ClusterStatus {
  ClusterState cluster;
  bool is_running = false;  // the supervisor lives
  // While it runs: the coordinator's answer, or why there is none.
  std::unique_ptr<proto::JobStatusReply> live;
  std::string no_answer;
  std::vector<ServerStatus> servers;  // of `live`, by index
  // Otherwise: the training state of the latest checkpoint, if there is a readable one.
  std::unique_ptr<proto::TrainState> last;
  std::string latest_checkpoint;

  ClusterStatus();
  ~ClusterStatus();
  ClusterStatus(ClusterStatus&&) noexcept;
  ClusterStatus& operator=(ClusterStatus&&) noexcept;
};

// NotFound when no cluster ever ran in the directory. Waits for the coordinator at most `limit`,
// and as long for the servers, all at once.
Result<ClusterStatus> GetClusterStatus(const std::string& run_dir, std::chrono::milliseconds limit);

// For people and for programs; both end in a line feed.
std::string ClusterStatusText(const ClusterStatus& status);
std::string ClusterStatusJson(const ClusterStatus& status);

}  // namespace cairn::launch
