// Fills a server's tables and dense chunks from a checkpoint that any number of servers wrote.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "ps/dense/dense_parameters.h"
#include "ps/table/embedding_table.h"

namespace cairn::proto {
class CheckpointManifest;
}  // namespace cairn::proto

namespace cairn::ps {

// What to read for the slots of one server.
struct LoadPlan {
  std::vector<std::size_t> shards;  // that hold slots of ours: indices in manifest.shard()
  // The one shard whose database can be used as it is: the same slots, tables and numbering.
  std::optional<std::size_t> identical;
};

// FailedPrecondition when a table of the checkpoint has another dim or optimizer than the job's
// table of that name, naming both.
Result<LoadPlan> PlanLoad(const proto::CheckpointManifest& manifest,
                          std::span<const std::unique_ptr<EmbeddingTable>> tables,
                          const SlotRange& slots);

struct LoadCounts {
  std::uint64_t rows = 0;
  // Pushes that the servers had taken: the largest number that a row, a chunk or a server tells. Of
  // the last pushes no key may be ours.
  std::uint64_t last_step = 0;
};

// Loads the rows and chunks of our slots from the planned shards; tables go by name, those that the
// job lacks are left out. `dirty`: they are not in the live database yet.
// `loaded` is called now and then, between rows; its error ends the load.
// DataLoss, naming folder or file, for damaged records or a count that the manifest contradicts.
Result<LoadCounts> LoadShards(const std::string& checkpoint,
                              const proto::CheckpointManifest& manifest, const LoadPlan& plan,
                              std::span<const std::unique_ptr<EmbeddingTable>> tables,
                              DenseParameters& dense, const SlotRange& slots, bool dirty,
                              const std::function<Status()>& loaded = {});

}  // namespace cairn::ps
