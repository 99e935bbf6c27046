// Asked for when the server wants a key.
import { useEffect, useRef } from 'preact/hooks';
import { setKey } from '../api';

export function KeyDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="key-title" onCancel={(event) => event.preventDefault()}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setKey(input.current!.value.trim());
        }}
      >
        <h2 id="key-title">This server asks for a key</h2>
        <label class="field">
          API key
          <input ref={input} type="password" autocomplete="off" required />
        </label>
        <p class="dim small">It is kept until this tab is closed.</p>
        <button type="submit">Continue</button>
      </form>
    </dialog>
  );
}
