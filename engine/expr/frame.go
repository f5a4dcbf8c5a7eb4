package expr

import (
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"edict/engine/value"
)

// A Frame holds what one evaluation reads: a value per slot, and the instant
// that now() gives. A Frame serves one goroutine, and may be reused after
// Reset. Values that a Program returned may refer to the Frame's values, so
// they must not outlive them.
type Frame struct {
	env   *Env
	now   time.Time
	clock bool // now was read
	steps int  // that are left; negative: used up
	slots []value.Value

	// The loop variables of the running programs: those of the innermost are
	// locals[base:top].
	locals    []value.Value
	base, top int

	// What cel-go needs of the slots, converted when it is first asked for.
	refs []ref.Val
}

// NewFrame makes a Frame with every slot absent.
func (e *Env) NewFrame() *Frame {
	return &Frame{
		env:   e,
		steps: MaxSteps,
		slots: make([]value.Value, e.size),
		refs:  make([]ref.Val, e.size),
	}
}

// Reset empties every slot, sets the instant of now(), and allows for MaxSteps.
func (f *Frame) Reset(now time.Time) {
	clear(f.slots)
	clear(f.refs)
	f.now, f.clock, f.steps = now, false, MaxSteps
}

// Limit leaves no more than n steps.
func (f *Frame) Limit(n int) { f.steps = min(f.steps, n) }

// Left gives how many steps are left, which is negative once they are used up.
func (f *Frame) Left() int { return f.steps }

// Set puts v into a slot.
func (f *Frame) Set(slot int, v value.Value) {
	f.slots[slot] = v
	f.refs[slot] = nil
}

// Get gives the value in a slot.
func (f *Frame) Get(slot int) value.Value { return f.slots[slot] }

// Now is the instant that now() gives.
func (f *Frame) Now() time.Time { return f.now }

// ReadClock tells whether a program has asked for the instant of now() since
// Reset, by now() or timeSince(): its answer may be another one at another time.
func (f *Frame) ReadClock() bool { return f.clock }

// ResolveName implements cel.Activation.
func (f *Frame) ResolveName(name string) (any, bool) {
	if name == nowVariable {
		f.clock = true
		return types.Timestamp{Time: f.now}, true
	}
	if name == frameVariable {
		return f, true
	}
	slot, ok := f.env.slots[name]
	if !ok || f.slots[slot].Kind() == value.Absent {
		return nil, false
	}
	if f.refs[slot] == nil {
		f.refs[slot] = f.env.structs.toRef(f.slots[slot])
	}
	return f.refs[slot], true
}

// Parent implements cel.Activation.
func (f *Frame) Parent() cel.Activation { return nil }
