#include "worker/nn/plan.h"

#include <algorithm>
#include <map>
#include <set>

#include <glog/logging.h>

#include "worker/nn/placement.h"

namespace cairn::worker::nn {
namespace {

using Action = PlanStep::Action;

// A tensor is known by the op that makes it. Its value and its gradient are two arrays.
struct ArrayId {
  int tensor = -1;
  bool is_gradient = false;
  auto operator<=>(const ArrayId&) const = default;
};

class Planner {
 public:
  Planner(const std::vector<OpDef>& ops, const Tensor& logit) : ops_(ops), logit_(logit.id) {
    FindReaders();
    AssignStages();
    DecideSaved();
  }

  Plan Make() {
    Plan plan;
    for (int s = 0; s < last_; ++s) EmitForward(plan.train, s, /*training=*/true);
    EmitForward(plan.train, last_, true);
    EmitLoss(plan.train.back(), true);
    EmitBackward(plan.train.back(), last_);
    for (int s = last_ - 1; s >= 0; --s) EmitBackward(plan.train.emplace_back(), s);
    for (int i : live_) {
      if (!ops_[i].finishes_gradient) continue;
      plan.finish.emplace_back(i, PlaceOf({i, true}));
      saved_life_.at({i, true}).last = static_cast<int>(plan.train.size());
    }
    PlaceScratch(plan.train, plan);

    for (int s = 0; s <= last_; ++s) EmitForward(plan.score, s, false);
    EmitLoss(plan.score.back(), false);
    PlaceScratch(plan.score, plan);
    PlaceSaved(plan);
    return plan;
  }

 private:
  struct Reader {
    int op;
    int input;
  };

  bool Live(int i) const { return is_live_[i]; }
  // Stage in which op i reads its inputs first.
  int ReadStage(int i) const { return stage_[i] - (ops_[i].reduces ? 1 : 0); }
  // Stage whose backward pass runs op i's Backward.
  int BackwardStage(int i) const { return ReadStage(i); }

  void FindReaders() {
    is_live_.assign(ops_.size(), false);
    is_live_[logit_] = true;
    std::vector<char> reaches(ops_.size(), false);  // the logit, by a way that has a gradient
    reaches[logit_] = true;
    readers_.resize(ops_.size());
    wants_gradient_.assign(ops_.size(), false);
    for (int i = static_cast<int>(ops_.size()) - 1; i >= 0; --i) {
      if (!Live(i)) continue;
      for (std::size_t k = 0; k < ops_[i].inputs.size(); ++k) {
        const int input = ops_[i].inputs[k].id;
        CHECK_LT(input, i);
        is_live_[input] = true;
        readers_[input].push_back({i, static_cast<int>(k)});
        if (reaches[i] && k < ops_[i].first_constant_input) reaches[input] = true;
      }
    }
    for (std::size_t i = 0; i < ops_.size(); ++i) {
      if (!is_live_[i]) continue;
      live_.push_back(static_cast<int>(i));
      bool wants = !ops_[i].parameters.empty() || ops_[i].finishes_gradient;
      for (const Tensor& input : ops_[i].inputs) wants = wants || wants_gradient_[input.id];
      wants_gradient_[i] = wants && reaches[i];
    }
  }

  void AssignStages() {
    stage_.assign(ops_.size(), 0);
    for (int i : live_) {
      for (const Tensor& input : ops_[i].inputs) stage_[i] = std::max(stage_[i], stage_[input.id]);
      if (ops_[i].reduces) ++stage_[i];
    }
    last_ = stage_[logit_];
    for (auto it = live_.rbegin(); it != live_.rend(); ++it) {
      if (ops_[*it].reduces || *it == logit_) continue;
      int latest = last_;
      for (const Reader& reader : readers_[*it]) latest = std::min(latest, ReadStage(reader.op));
      stage_[*it] = latest;
    }
  }

  void DecideSaved() {
    saved_.assign(ops_.size(), false);
    std::vector<char> recomputable(ops_.size(), false);
    for (int i : live_) {
      bool crosses = false, in_gradient = ops_[i].reads_output && wants_gradient_[i];
      if (in_gradient) crosses = BackwardStage(i) != stage_[i];
      for (const Reader& reader : readers_[i]) {
        crosses = crosses || ReadStage(reader.op) != stage_[i] || stage_[reader.op] != stage_[i];
        if (ops_[reader.op].reads_input && wants_gradient_[reader.op]) in_gradient = true;
      }
      bool inputs_there = true;
      for (const Tensor& input : ops_[i].inputs)
        inputs_there = inputs_there && (saved_[input.id] || recomputable[input.id]);
      recomputable[i] = ops_[i].cheap && inputs_there;
      saved_[i] = crosses || (in_gradient && stage_[i] != last_ && !recomputable[i]);
    }
  }

  bool GradientIsSaved(int i) const {
    if (ops_[i].finishes_gradient) return true;
    const int stage = BackwardStage(i);
    if (stage_[i] != stage) return true;  // ReduceGradient reads it a stage earlier
    return std::any_of(readers_[i].begin(), readers_[i].end(),
                       [&](const Reader& reader) { return BackwardStage(reader.op) != stage; });
  }

  // The place with the tensor's number in `offset`, until the arrays are laid out.
  Place PlaceOf(ArrayId id) const {
    const bool saved = id.is_gradient ? GradientIsSaved(id.tensor) : saved_[id.tensor] != 0;
    return {saved ? Place::Kind::kSaved : Place::Kind::kScratch,
            static_cast<std::size_t>(id.tensor) * 2 + (id.is_gradient ? 1 : 0),
            SizeOf(ops_[id.tensor].dims)};
  }

  // Emitting a step notes that stage number `moment_` uses its saved arrays.
  Place Use(ArrayId id) {
    const Place place = PlaceOf(id);
    if (place.kind == Place::Kind::kSaved) {
      auto [it, added] = saved_life_.try_emplace(id, Lifetime{place.size, moment_, moment_, 0});
      if (!added) it->second.last = std::max(it->second.last, moment_);
    }
    return place;
  }

  PlanStep ForwardStep(Action action, int i) {
    PlanStep step;
    step.action = action;
    step.op = i;
    for (const Tensor& input : ops_[i].inputs) step.in.push_back(Use({input.id, false}));
    if (action == Action::kForward) {
      step.out = Use({i, false});
      computed_.insert(i);
    }
    return step;
  }

  void EmitForward(std::vector<PlanStage>& stages, int s, bool training) {
    PlanStage& stage = stages.emplace_back();
    moment_ = s;
    computed_.clear();
    for (int i : live_) {
      if (stage_[i] == s) stage.steps.push_back(ForwardStep(Action::kForward, i));
      if (training && ops_[i].reduces && ReadStage(i) == s) {
        stage.steps.push_back(ForwardStep(Action::kReduce, i));
        stage.combine.push_back(i);
      }
    }
  }

  void EmitLoss(PlanStage& stage, bool training) {
    PlanStep step;
    step.action = Action::kLoss;
    step.in.push_back(Use({logit_, false}));
    if (training) step.in_gradient.push_back(UseGradient(logit_, &step));
    stage.steps.push_back(step);
  }

  // The first writer of a gradient overwrites, the later ones add.
  Place UseGradient(int tensor, PlanStep* writer) {
    writer->accumulate.push_back(written_.insert(tensor).second ? 0 : 1);
    return Use({tensor, true});
  }

  void Ensure(PlanStage& stage, int tensor) {
    if (saved_[tensor] || computed_.contains(tensor)) return;
    for (const Tensor& input : ops_[tensor].inputs) Ensure(stage, input.id);
    stage.steps.push_back(ForwardStep(Action::kForward, tensor));
    stage.steps.back().again = true;
  }

  void EmitBackward(PlanStage& stage, int s) {
    moment_ = 2 * last_ - s;
    if (s != last_) computed_.clear();
    for (auto it = live_.rbegin(); it != live_.rend(); ++it) {
      const int i = *it;
      if (!wants_gradient_[i]) continue;
      if (ops_[i].reduces && stage_[i] == s) {
        PlanStep step = ForwardStep(Action::kReduceGradient, i);
        step.out_gradient = Use({i, true});
        stage.steps.push_back(step);
        stage.combine_gradient.push_back(i);
      }
      if (BackwardStage(i) == s) EmitBackwardOf(stage, i);
    }
  }

  void EmitBackwardOf(PlanStage& stage, int i) {
    const OpDef& op = ops_[i];
    if (op.reads_output) Ensure(stage, i);
    if (op.reads_input)
      for (const Tensor& input : op.inputs) Ensure(stage, input.id);
    PlanStep step;
    step.action = Action::kBackward;
    step.op = i;
    for (const Tensor& input : op.inputs)
      step.in.push_back(op.reads_input ? Use({input.id, false}) : Place{});
    if (op.reads_output) step.out = Use({i, false});
    step.out_gradient = Use({i, true});
    for (std::size_t k = 0; k < op.inputs.size(); ++k) {
      const Tensor& input = op.inputs[k];
      if (wants_gradient_[input.id] && k < op.first_constant_input) {
        step.in_gradient.push_back(UseGradient(input.id, &step));
      } else {
        step.in_gradient.push_back({});
        step.accumulate.push_back(0);
      }
    }
    stage.steps.push_back(step);
  }

  bool IsWide(const PlanStep& step) const {
    return step.action == Action::kReduce || step.action == Action::kReduceGradient ||
           (step.op >= 0 && ops_[step.op].wide);
  }

  void MakeGroups(PlanStage& stage) const {
    for (std::size_t k = 0; k < stage.steps.size(); ++k) {
      const bool wide = IsWide(stage.steps[k]);
      if (wide || stage.groups.empty() || stage.groups.back().wide)
        stage.groups.push_back({k, k, wide});
      stage.groups.back().end = k + 1;
    }
  }

  template <typename Visit>
  static void VisitPlaces(PlanStep& step, Visit visit) {
    for (Place& place : step.in) visit(place);
    visit(step.out);
    visit(step.out_gradient);
    for (Place& place : step.in_gradient) visit(place);
  }

  // Lays out the scratch and local arrays of each stage by their first and last step.
  void PlaceScratch(std::vector<PlanStage>& stages, Plan& plan) const {
    for (PlanStage& stage : stages) {
      MakeGroups(stage);
      std::map<std::size_t, Lifetime> lives;  // of arrays
      for (std::size_t k = 0; k < stage.steps.size(); ++k)
        VisitPlaces(stage.steps[k], [&](Place& place) {
          if (place.kind != Place::Kind::kScratch) return;
          const int now = static_cast<int>(k);
          lives.try_emplace(place.offset, Lifetime{place.size, now, now, 0}).first->second.last =
              now;
        });
      std::map<std::size_t, Place> places;
      std::vector<Lifetime> scratch, local;
      for (const auto& [array, life] : lives) {
        const int first = GroupOf(stage, life.first), last = GroupOf(stage, life.last);
        const bool is_local = first == last && !stage.groups[first].wide;
        std::vector<Lifetime>& list = is_local ? local : scratch;
        places[array] = {is_local ? Place::Kind::kLocal : Place::Kind::kScratch, list.size(),
                         life.size};
        // The steps of a narrow group run for a few panels after the other, so all of them are one
        // moment to the arrays of a whole block.
        list.push_back(is_local ? life : Lifetime{life.size, first, last, 0});
      }
      plan.scratch_size = std::max(plan.scratch_size, PlaceLifetimes(scratch));
      plan.local_size = std::max(plan.local_size, PlaceLifetimes(local));
      for (PlanStep& step : stage.steps)
        VisitPlaces(step, [&](Place& place) {
          if (place.kind != Place::Kind::kScratch) return;
          place = places.at(place.offset);
          place.offset = (place.kind == Place::Kind::kLocal ? local : scratch)[place.offset].offset;
        });
    }
  }

  static int GroupOf(const PlanStage& stage, int step) {
    int group = 0;
    while (stage.groups[group].end <= static_cast<std::size_t>(step)) ++group;
    return group;
  }

  void PlaceSaved(Plan& plan) {
    std::vector<Lifetime> lives;
    std::map<std::size_t, std::size_t> index;
    for (const auto& [id, life] : saved_life_) {
      index[PlaceOf(id).offset] = lives.size();
      lives.push_back(life);
    }
    plan.saved_size = PlaceLifetimes(lives);
    const auto move = [&](Place& place) {
      if (place.kind == Place::Kind::kSaved) place.offset = lives[index.at(place.offset)].offset;
    };
    for (auto* stages : {&plan.train, &plan.score})
      for (PlanStage& stage : *stages)
        for (PlanStep& step : stage.steps) VisitPlaces(step, move);
    for (auto& [op, place] : plan.finish) move(place);
  }

  const std::vector<OpDef>& ops_;
  const int logit_;
  std::vector<char> is_live_;
  std::vector<int> live_;  // in order
  std::vector<std::vector<Reader>> readers_;
  std::vector<char> wants_gradient_;
  std::vector<int> stage_;
  int last_ = 0;
  std::vector<char> saved_;

  int moment_ = 0;          // number of the stage that is being emitted
  std::set<int> computed_;  // values made in this stage
  std::set<int> written_;   // gradients that have a writer
  std::map<ArrayId, Lifetime> saved_life_;
};

}  // namespace

Plan MakePlan(const std::vector<OpDef>& ops, const Tensor& logit) {
  return Planner(ops, logit).Make();
}

}  // namespace cairn::worker::nn
