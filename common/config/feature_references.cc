// What features say about each other and about the model; and the first-order weights that models
// add by themselves.
#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "common/config/effective_parts.h"
#include "common/config/suggest.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using proto::FeatureConfig;
using proto::ModelConfig;
using proto::SequenceConfig;

constexpr std::string_view kLinearSuffix = ".linear";

bool IsHistory(const FeatureConfig& feature) {
  return feature.type() == FeatureConfig::SEQUENCE &&
         feature.sequence().pooling() == SequenceConfig::HISTORY;
}

std::string NameOf(const ModelConfig& model) {
  const auto* kind = ModelConfig::descriptor()->FindFieldByNumber(model.kind_case());
  return kind == nullptr ? "" : std::string(kind->name());
}

class References {
 public:
  References(const OriginTree& origins, const FeatureNodes& nodes, const proto::JobConfig& job,
             ProblemList* problems)
      : origins_(origins), nodes_(nodes), job_(job), problems_(problems) {
    for (const FeatureConfig& feature : job.feature()) {
      by_name_.try_emplace(feature.name(), &feature);
      names_.push_back(feature.name());
    }
    for (const proto::TableConfig& table : job.table()) dims_[table.name()] = table.dim();
  }

  void Check() {
    for (int i = 0; i < job_.feature_size(); ++i) {
      const FeatureConfig& feature = job_.feature(i);
      const OriginTree& node = *nodes_[static_cast<std::size_t>(i)];
      if (!accused_.insert(&node).second) continue;  // once for each feature as written
      if (IsHistory(feature) && feature.sequence().has_target()) CheckTarget(feature, node);
      if (feature.type() == FeatureConfig::CROSS) CheckParts(feature, node);
    }
    if (!origins_.At(proto::JobConfig::kModelFieldNumber).damaged && job_.has_model() &&
        job_.model().kind_case() != ModelConfig::KIND_NOT_SET) {
      CheckModel();
    }
    CheckRolesOfTables();
  }

 private:
  void CheckTarget(const FeatureConfig& history, const OriginTree& node) {
    const std::string& name = history.sequence().target();
    const auto problem = [&](std::string message) {
      problems_->Add(node.At(FeatureConfig::kSequenceFieldNumber)
                         .At(SequenceConfig::kTargetFieldNumber)
                         .origin,
                     StrCat("sequence.target of feature \"", history.name(), "\": ", message));
    };
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      return problem(StrCat("there is no feature \"", name, "\"", DidYouMean(name, names_)));
    }
    const FeatureConfig& target = *found->second;
    if (IsHistory(target)) return problem(StrCat("\"", name, "\" is a HISTORY itself"));
    if (target.role() == FeatureConfig::LINEAR) {
      return problem(StrCat("\"", name, "\" is a first-order weight"));
    }
    if (IsPlainNumber(target)) return problem(StrCat("\"", name, "\" is a number without table"));
    if (dims_[target.table()] == dims_[history.table()]) return;
    problem(StrCat("\"", name, "\" has dim ", dims_[target.table()], ", the history has ",
                   dims_[history.table()], "; they must be equal"));
  }

  void CheckParts(const FeatureConfig& cross, const OriginTree& node) {
    std::set<std::string> seen;
    for (int k = 0; k < cross.of_size(); ++k) {
      const std::string& name = cross.of(k);
      const auto problem = [&](std::string message) {
        problems_->Add(node.At(FeatureConfig::kOfFieldNumber, k).origin,
                       StrCat("of[", k, "] of feature \"", cross.name(), "\": ", message));
      };
      const auto found = by_name_.find(name);
      if (found == by_name_.end()) {
        problem(StrCat("there is no feature \"", name, "\"", DidYouMean(name, names_)));
      } else if (!seen.insert(name).second) {
        problem(StrCat("\"", name, "\" is there twice"));
      } else if (found->second->type() == FeatureConfig::CROSS) {
        problem(StrCat("\"", name, "\" is a CROSS itself; name its parts"));
      } else if (found->second->type() == FeatureConfig::SEQUENCE ||
                 IsPlainNumber(*found->second)) {
        problem(StrCat("\"", name, "\" is ", FeatureConfig::Type_Name(found->second->type()),
                       "; parts are CATEGORICAL, or NUMERIC with a bucket_width"));
      }
    }
  }

  void CheckModel() {
    const ModelConfig& model = job_.model();
    const bool reads_histories = model.has_din() || model.has_interformer();
    bool has_history = false;
    std::set<const OriginTree*> accused;
    for (int i = 0; i < job_.feature_size(); ++i) {
      const FeatureConfig& feature = job_.feature(i);
      const OriginTree& node = *nodes_[static_cast<std::size_t>(i)];
      has_history = has_history || IsHistory(feature);
      if (IsHistory(feature) && !reads_histories && accused.insert(&node).second) {
        problems_->Add(node.At(FeatureConfig::kSequenceFieldNumber)
                           .At(SequenceConfig::kPoolingFieldNumber)
                           .origin,
                       StrCat("feature \"", feature.name(), "\" is a HISTORY, which model ",
                              NameOf(model), " does not read; pooling may be MEAN or SUM"));
      }
      if (feature.role() == FeatureConfig::LINEAR && !HasLinearWeights(model) &&
          accused.insert(&node).second) {
        problems_->Add(node.At(FeatureConfig::kRoleFieldNumber).origin,
                       StrCat("feature \"", feature.name(), "\" is LINEAR, but model ",
                              NameOf(model), " has no first-order weights"));
      }
    }
    if (reads_histories && !has_history && !origins_.damaged && job_.feature_size() > 0) {
      problems_->Add(origins_.At(proto::JobConfig::kModelFieldNumber).origin,
                     StrCat("model ", NameOf(model),
                            " needs a SEQUENCE feature with sequence.pooling: HISTORY"));
    }
  }

  // A table holds first-order weights or embeddings, not both.
  void CheckRolesOfTables() {
    std::map<std::string, const FeatureConfig*> first;
    for (int i = 0; i < job_.feature_size(); ++i) {
      const FeatureConfig& feature = job_.feature(i);
      if (!feature.has_table()) continue;
      const auto [found, is_new] = first.try_emplace(feature.table(), &feature);
      if (is_new || found->second->role() == feature.role()) continue;
      const bool is_linear = feature.role() == FeatureConfig::LINEAR;
      const FeatureConfig& weight = is_linear ? feature : *found->second;
      const FeatureConfig& input = is_linear ? *found->second : feature;
      if (input.name() == feature.table() && input.name().ends_with(kLinearSuffix))
        continue;  // told
      const OriginTree& node = *nodes_[static_cast<std::size_t>(i)];
      problems_->Add(node.At(feature.has_table() && node.Has(FeatureConfig::kTableFieldNumber)
                                 ? FeatureConfig::kTableFieldNumber
                                 : FeatureConfig::kNameFieldNumber)
                         .origin,
                     StrCat("table \"", feature.table(), "\" holds the first-order weights of \"",
                            weight.name(), "\", so feature \"", input.name(), "\" cannot use it"));
      return;
    }
  }

  const OriginTree& origins_;
  const FeatureNodes& nodes_;
  const proto::JobConfig& job_;
  ProblemList* const problems_;
  std::map<std::string, const FeatureConfig*> by_name_;
  std::vector<std::string> names_;
  std::map<std::string, std::uint32_t> dims_;
  std::set<const OriginTree*> accused_;
};

}  // namespace

bool HasLinearWeights(const ModelConfig& model) {
  return model.has_fm() || model.has_deepfm() || (model.has_autoint() && model.autoint().linear());
}

void AddLinearFeatures(proto::JobConfig* job, FeatureNodes* nodes, ProblemList* problems) {
  if (!HasLinearWeights(job->model())) return;
  std::map<std::string, int> by_name;
  for (int i = 0; i < job->feature_size(); ++i) by_name.try_emplace(job->feature(i).name(), i);
  const int inputs = job->feature_size();
  for (int i = 0; i < inputs; ++i) {
    const FeatureConfig& input = job->feature(i);
    if (input.role() != FeatureConfig::INPUT || IsHistory(input) || input.name().empty()) continue;
    const std::string name = StrCat(input.name(), kLinearSuffix);
    if (const auto found = by_name.find(name); found != by_name.end()) {
      if (job->feature(found->second).role() == FeatureConfig::LINEAR) continue;  // as written
      problems->Add((*nodes)[static_cast<std::size_t>(found->second)]
                        ->At(FeatureConfig::kNameFieldNumber)
                        .origin,
                    StrCat("\"", name, "\" is the name of the first-order weights of feature \"",
                           input.name(), "\""));
      continue;
    }
    FeatureConfig linear = input;
    linear.set_name(name);
    linear.set_role(FeatureConfig::LINEAR);
    linear.clear_density();
    if (linear.has_table()) linear.set_table(StrCat(input.table(), kLinearSuffix));
    *job->add_feature() = std::move(linear);
    nodes->push_back((*nodes)[static_cast<std::size_t>(i)]);
  }
}

void CheckReferences(const OriginTree& origins, const FeatureNodes& nodes,
                     const proto::JobConfig& job, ProblemList* problems) {
  References(origins, nodes, job, problems).Check();
}

}  // namespace cairn
