// TorchScript that runs without Python: programs (redisai_program.h) of methods and functions
// that were loaded or compiled through PyTorch's Python package, by PyTorch's own interpreter.
//
// Compiled for the PyTorch that is installed, by "python -m redisai_py compile".
#include <algorithm>
#include <utility>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

#include <ATen/DLConvertor.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/function.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/python/pybind_utils.h>
#include <torch/csrc/utils/pybind.h>

#include "redisai_program.h"

namespace py = pybind11;

namespace {

at::Tensor to_tensor(const rai_view &view) {
    auto dtype = at::toScalarType(DLDataType{view.code, view.bits, 1});
    // PyTorch has hardly an operator for uint16: the session refuses it.
    TORCH_CHECK(dtype != at::kUInt16, "UINT16");
    // Not written to: no program is made of code that writes to its inputs.
    return at::from_blob(const_cast<void *>(view.data), at::IntArrayRef(view.dims, view.ndim), dtype);
}

// Packed, on the CPU, and without the conjugations and negations that views may owe.
at::Tensor packed_form(const at::Tensor &tensor) {
    return tensor.cpu().resolve_conj().resolve_neg().contiguous();
}

bool give(const at::Tensor &tensor, rai_take take, void *receiver, int32_t index) {
    if (tensor.layout() != at::kStrided || tensor._is_zerotensor()) return false; // there may be no data
    bool is_plain = tensor.is_cpu() && tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg();
    at::Tensor other;
    const auto &packed = is_plain ? tensor : other = packed_form(tensor);
    auto dtype = at::getDLDataType(packed);
    if (dtype.lanes != 1 || (packed.numel() > 0 && packed.const_data_ptr() == nullptr)) return false;
    auto sizes = packed.sizes();
    rai_view view{dtype.code, dtype.bits, static_cast<int32_t>(sizes.size()), sizes.data(), packed.const_data_ptr()};
    return take(receiver, index, &view) != 0;
}

// A tensor, or a tuple or list of tensors, as so many outputs.
bool give_all(const c10::IValue &result, int32_t count, rai_take take, void *receiver) {
    if (count == 0) return true;
    if (result.isTensor()) return count == 1 && give(result.toTensor(), take, receiver, 0);
    std::vector<c10::IValue> values;
    if (result.isTuple()) {
        values = result.toTupleRef().elements().vec();
    } else if (result.isTensorList()) {
        for (const at::Tensor &tensor : result.toTensorList()) values.emplace_back(tensor);
    }
    if (static_cast<int64_t>(values.size()) != count) return false;
    if (!std::all_of(values.begin(), values.end(), [](const auto &value) { return value.isTensor(); })) return false;
    for (int32_t i = 0; i < count; i++) {
        if (!give(values[i].toTensor(), take, receiver, i)) return false;
    }
    return true;
}

// Redis' event loop, the process' main thread, does not wait for others. Workers tell PyTorch themselves how many
// threads their runs use.
void prepare_thread() {
    static thread_local bool is_prepared = false;
    if (is_prepared) return;
    is_prepared = true;
    if (getpid() != syscall(SYS_gettid)) return;
    at::get_num_threads(); // the first call takes over what another thread has set last
    at::set_num_threads(1);
}

// A function, and what comes before and after the tensors among its arguments.
class Program : public rai_program {
  public:
    static Program of_method(const py::object &module, const std::string &name, const std::string &device) {
        auto owner = py::cast<torch::jit::Module>(module);
        return Program(owner.get_method(name).function(), {owner._ivalue()}, nullptr, false, device);
    }

    // An entry point takes all tensors as one list, then keys and arguments, of which there are none here.
    static Program of_function(const py::object &function, bool is_entry_point, const std::string &device) {
        auto strong = py::cast<torch::jit::StrongFunctionPtr>(function);
        return Program(*strong.function_, {}, std::move(strong.cu_), is_entry_point, device);
    }

    uintptr_t address() {
        return reinterpret_cast<uintptr_t>(static_cast<rai_program *>(this));
    }

  private:
    Program(torch::jit::Function &function, std::vector<c10::IValue> first,
            std::shared_ptr<torch::jit::CompilationUnit> unit, bool takes_list, const std::string &device)
        : rai_program{run_program}, function_(&function), first_(std::move(first)), unit_(std::move(unit)),
          takes_list_(takes_list), device_(device) {
    }

    static int run_program(rai_program *program, const rai_view *inputs, int32_t input_count, rai_take take,
                           void *receiver, int32_t output_count) {
        // Whatever is wrong: the session's Python method has the words for it.
        try {
            prepare_thread();
            c10::InferenceMode guard;
            auto *self = static_cast<Program *>(program);
            auto result = self->call(inputs, input_count);
            self->wait();
            return give_all(result, output_count, take, receiver);
        } catch (...) {
            return 0;
        }
    }

    at::Tensor to_input(const rai_view &view) const {
        at::Tensor tensor = to_tensor(view);
        return device_.is_cpu() ? tensor : tensor.to(device_);
    }

    // For results that the program itself copies to the CPU, which it need not wait for.
    void wait() const {
        if (!device_.is_cpu()) c10::impl::VirtualGuardImpl(device_.type()).getStream(device_).synchronize();
    }

    c10::IValue call(const rai_view *inputs, int32_t count) const {
        torch::jit::Stack stack;
        stack.reserve(first_.size() + count + 2);
        stack.insert(stack.end(), first_.begin(), first_.end());
        if (takes_list_) {
            c10::List<at::Tensor> tensors;
            tensors.reserve(count);
            for (int32_t i = 0; i < count; i++) tensors.push_back(to_input(inputs[i]));
            stack.emplace_back(std::move(tensors));
            stack.emplace_back(c10::List<std::string>());
            stack.emplace_back(c10::List<std::string>());
        } else {
            for (int32_t i = 0; i < count; i++) stack.emplace_back(to_input(inputs[i]));
        }
        function_->run(stack);
        return std::move(stack.back());
    }

    torch::jit::Function *function_;
    std::vector<c10::IValue> first_;
    std::shared_ptr<torch::jit::CompilationUnit> unit_; // which owns a function that is no method
    bool takes_list_;
    at::Device device_; // where the inputs have to be
};

} // namespace

PYBIND11_MODULE(interpreter, module) {
    py::class_<Program>(module, "Program", py::module_local(), "A method or a function, as a program.")
        .def_static("of_method", &Program::of_method, py::arg("module"), py::arg("name"), py::arg("device"))
        .def_static("of_function", &Program::of_function, py::arg("function"), py::arg("is_entry_point"),
                    py::arg("device"))
        .def_property_readonly("address", &Program::address);
}
