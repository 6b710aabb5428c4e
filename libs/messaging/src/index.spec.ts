import * as messaging from './index.ts';

it('exports what it exported', () => expect(Object.keys(messaging).sort()).toMatchSnapshot());
