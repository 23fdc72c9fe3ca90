export function Brand() {
  return (
    <h1 className="brand">
      <img src="/icon.svg" alt="" width="28" height="28" />
      Turnpike
    </h1>
  );
}
