#include "ps/table/initializer.h"

#include <algorithm>
#include <string>

#include "common/math/hash.h"
#include "proto/config.pb.h"
#include "ps/optim/check_range.h"
#include "ps/table/random_rows.h"

namespace cairn::ps {
namespace {

class RandomInitializer : public RowInitializer {
 public:
  RandomInitializer(RandomKind kind, double scale, std::uint64_t stream)
      : kind_(kind), scale_(static_cast<float>(scale)), stream_(stream) {}
  void Fill(std::span<const std::uint64_t> keys, std::size_t dim,
            float* const* rows) const override {
    FillRandomRows(isa_, kind_, scale_, stream_, keys, dim, rows);
  }

 private:
  const Isa isa_ = BestIsa();
  const RandomKind kind_;
  const float scale_;
  const std::uint64_t stream_;
};

class ZeroInitializer : public RowInitializer {
 public:
  void Fill(std::span<const std::uint64_t> keys, std::size_t dim,
            float* const* rows) const override {
    for (std::size_t i = 0; i < keys.size(); ++i) std::fill_n(rows[i], dim, 0.0f);
  }
};

Result<std::unique_ptr<RowInitializer>> MakeNormal(const proto::InitializerConfig& config,
                                                   std::uint64_t stream) {
  const double stddev = config.normal().stddev();
  RETURN_IF_ERROR(CheckNotNegative("normal.stddev", stddev));
  return std::make_unique<RandomInitializer>(RandomKind::kNormal, stddev, stream);
}
Result<std::unique_ptr<RowInitializer>> MakeUniform(const proto::InitializerConfig& config,
                                                    std::uint64_t stream) {
  const double bound = config.uniform().bound();
  RETURN_IF_ERROR(CheckNotNegative("uniform.bound", bound));
  return std::make_unique<RandomInitializer>(RandomKind::kUniform, bound, stream);
}
Result<std::unique_ptr<RowInitializer>> MakeZero(const proto::InitializerConfig&, std::uint64_t) {
  return std::make_unique<ZeroInitializer>();
}

// Keep sorted.
constexpr InitializerEntry kInitializers[] = {
    {"normal", &MakeNormal},
    {"uniform", &MakeUniform},
    {"zero", &MakeZero},
};

}  // namespace

std::span<const InitializerEntry> Initializers() { return kInitializers; }

Result<std::unique_ptr<RowInitializer>> MakeInitializer(const proto::InitializerConfig& config,
                                                        std::uint64_t seed,
                                                        std::uint64_t table_salt) {
  const auto* oneof = proto::InitializerConfig::descriptor()->FindOneofByName("kind");
  const auto* field = config.GetReflection()->GetOneofFieldDescriptor(config, oneof);
  const std::string kind = field == nullptr ? "normal" : field->name();
  const std::uint64_t stream = Mix64(seed + 0x9e3779b97f4a7c15ull) ^ table_salt;
  for (const InitializerEntry& entry : kInitializers) {
    if (entry.name == kind) return entry.make(config, stream);
  }
  return absl::InvalidArgumentError(StrCat("unknown initializer \"", kind, "\""));
}

}  // namespace cairn::ps
