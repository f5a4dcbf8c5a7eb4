package transport

// Bounds say what the calls of a service may take. The zero Bounds are none.
type Bounds struct {
	Message int // the length of a request over HTTP, in bytes; 0: any

	// Enter lets a call in, or gives the error that refuses it. Nil lets all in.
	Enter func() error

	// Hold keeps bytes of a body that is arriving, or gives the error that refuses it.
	// Nil keeps all. The first 64 KiB of a body are not counted.
	Hold func(bytes int) error

	// Release lets go of what was kept, in one, once the body is here, or will not be.
	// Nil: nobody wants to know.
	Release func(bytes int)

	// Leave is told of the end of each call that was let in. Nil: nobody wants to
	// know.
	Leave func()
}

func (b *Bounds) enter() error {
	if b.Enter == nil {
		return nil
	}
	return b.Enter()
}

func (b *Bounds) hold(bytes int) error {
	if b.Hold == nil {
		return nil
	}
	return b.Hold(bytes)
}

func (b *Bounds) release(bytes int) {
	if b.Release != nil {
		b.Release(bytes)
	}
}

func (b *Bounds) leave() {
	if b.Leave != nil {
		b.Leave()
	}
}
