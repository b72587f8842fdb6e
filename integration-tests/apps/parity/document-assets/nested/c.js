window.order = [...(window.order ?? []), 'nested/c'];
